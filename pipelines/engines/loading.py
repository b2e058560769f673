"""Loading a causal language model and its tokenizer with transformers, and saying in one sentence why it cannot be."""

import hashlib
import inspect
from pathlib import Path
from typing import Any

from pipelines.engines.base import Message
from pipelines.engines.device import DeviceChoice
from pipelines.errors import InputError
from pipelines.models.conversion import quiet_transformers
from pipelines.models.source import ModelSource

__all__ = [
    "adapter_sha256",
    "context_length",
    "ending_tokens",
    "load_adapter",
    "load_model",
    "takes_system",
    "without_system",
]


def load_model(source: ModelSource, choice: DeviceChoice) -> tuple[Any, Any]:
    """The model, ready for inference on its device, and its tokenizer.

    Raises:
        InputError: ``model_load_failed`` with transformers' own reason, ``model_weights_missing``,
            ``model_without_chat_template``, ``model_without_cache``.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded: Any
    try:
        with quiet_transformers():  # its bars and tables would only tear the terminal's lines
            tokenizer = AutoTokenizer.from_pretrained(**source.arguments())
            loaded = AutoModelForCausalLM.from_pretrained(
                **source.arguments(),
                dtype=getattr(torch, choice.dtype),
                use_safetensors=None if source.kind == "gguf" else True,  # never a pickle, from the Hub neither
                output_loading_info=True,
            )
    except Exception as error:
        # Files of strangers fail in many ways (OSError, ValueError, KeyError, SafetensorError, RuntimeError…); each of
        # them means the same to the person: this model cannot be loaded, and why.
        raise InputError("model_load_failed", model=source.reference, reason=_first_line(error)) from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):  # transformers fills them with random numbers and goes on
        raise InputError(
            "model_weights_missing", model=source.reference, count=len(missing), names=", ".join(missing[:3])
        )
    if not getattr(tokenizer, "chat_template", None):
        raise InputError("model_without_chat_template", model=source.reference)
    if "past_key_values" not in inspect.signature(model.forward).parameters:  # a cache would be ignored in silence
        raise InputError("model_without_cache", model=source.reference, architecture=model.config.model_type)
    return model.to(choice.device).eval().requires_grad_(False), tokenizer


def takes_system(tokenizer: Any, reference: str) -> bool:
    """Whether the chat template writes a system message; Gemma 2's refuses one, others leave it out in silence.

    Raises:
        InputError: ``model_chat_template`` where it cannot even write one message of a user.
    """
    probe = "cinquain"
    user = {"role": "user", "content": "Hello."}
    try:
        tokenizer.apply_chat_template([user], add_generation_prompt=True, tokenize=False)
    except Exception as error:  # a template is a program of a stranger: it fails in any way it likes
        raise InputError("model_chat_template", model=reference, reason=_first_line(error)) from error
    try:
        messages = [{"role": "system", "content": probe}, user]
        return probe in tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except Exception:
        return False


def without_system(messages: list[Message]) -> list[Message]:
    """The conversation with its system message at the head of the first message of the user."""
    if not messages or messages[0]["role"] != "system":
        return messages
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": system["content"]}, *rest]
    return [{"role": "user", "content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


def load_adapter(model: Any, path: Path) -> Any:
    """The model with the layers of a LoRA adapter in it.

    Raises:
        InputError: ``adapter_kind`` for one that adds tokens to the prompt, ``adapter_load_failed`` when it does not
            fit this model.
    """
    from peft import PeftConfig, PeftModel

    try:
        config = PeftConfig.from_pretrained(str(path))
        if config.is_prompt_learning:
            raise InputError("adapter_kind", adapter=str(path), found=config.peft_type.value)
        # The layers are in the model itself now; PEFT's wrapper would only hide what its forward takes.
        return PeftModel.from_pretrained(model, str(path), config=config, is_trainable=False).get_base_model().eval()
    except InputError:
        raise
    except Exception as error:  # as in load_model: every failure means that this adapter does not fit this model
        raise InputError("adapter_load_failed", adapter=str(path), reason=_first_line(error)) from error


def adapter_sha256(path: Path) -> str:
    """SHA-256 of an adapter's weights: what provenance tells it by, wherever its folder lies."""
    with (path / "adapter_model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def context_length(model: Any, tokenizer: Any) -> int:
    """Tokens that prompt and reply share: what the positions allow, or less where the tokenizer says so."""
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None) or 1_000_000_000
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        # Beyond the original length all positions turn by other factors, also those that were read before: a cache
        # that was filled in chunks, or shared with a shorter prompt, would be wrong then (Phi-3, Phi-4-mini).
        positions = min(positions, rope.get("original_max_position_embeddings") or positions)
    # Tokenizers without a limit of their own say 1e30.
    return int(min(positions, tokenizer.model_max_length, 1_000_000_000))


def ending_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end a reply: the generation config's, and the tokenizer's own."""
    configured = model.generation_config.eos_token_id
    tokens = set(configured if isinstance(configured, list) else [configured])
    return sorted(token for token in tokens | {tokenizer.eos_token_id} if token is not None)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300].rstrip('.')}" if lines else type(error).__name__
