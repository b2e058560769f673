"""Loading a causal language model and its tokenizer with transformers, and saying in one sentence why it cannot be."""

from pathlib import Path
from typing import Any

from pipelines.engines.device import DeviceChoice
from pipelines.errors import InputError
from pipelines.models.source import ModelSource

__all__ = ["context_length", "ending_tokens", "load_adapter", "load_model"]


def load_model(source: ModelSource, choice: DeviceChoice) -> tuple[Any, Any]:
    """The model, ready for inference on its device, and its tokenizer.

    Raises:
        InputError: ``model_load_failed`` with transformers' own reason, ``model_without_chat_template``.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a bar for 0.1 s of work would only tear the terminal's lines
    try:
        tokenizer = AutoTokenizer.from_pretrained(**source.arguments())
        model: Any = AutoModelForCausalLM.from_pretrained(
            **source.arguments(),
            dtype=getattr(torch, choice.dtype),
            attn_implementation="sdpa",
            use_safetensors=None if source.kind == "gguf" else True,  # never a pickle, from the Hub neither
        )
    except Exception as error:
        # Files of strangers fail in many ways (OSError, ValueError, KeyError, SafetensorError, RuntimeError…); each of
        # them means the same to the person: this model cannot be loaded, and why.
        raise InputError("model_load_failed", model=source.reference, reason=_first_line(error)) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    if not getattr(tokenizer, "chat_template", None):
        raise InputError("model_without_chat_template", model=source.reference)
    model = model.to(choice.device).eval().requires_grad_(False)
    if choice.one_row:
        from pipelines.engines.one_row import use_one_row_copies

        use_one_row_copies(model)
    return model, tokenizer


def load_adapter(model: Any, path: Path) -> Any:
    """The model with a LoRA adapter on top.

    Raises:
        InputError: ``adapter_load_failed`` when it does not fit this model.
    """
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(path), is_trainable=False).eval()
    except Exception as error:  # as in load_model: every failure means that this adapter does not fit this model
        raise InputError("adapter_load_failed", adapter=str(path), reason=_first_line(error)) from error


def context_length(model: Any, tokenizer: Any) -> int:
    """Tokens that prompt and reply share: what the positions allow, or less where the tokenizer says so."""
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None) or 1_000_000_000
    # Tokenizers without a limit of their own say 1e30.
    return int(min(positions, tokenizer.model_max_length, 1_000_000_000))


def ending_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end a reply: the generation config's, and the tokenizer's own."""
    configured = model.generation_config.eos_token_id
    tokens = set(configured if isinstance(configured, list) else [configured])
    return sorted(token for token in tokens | {tokenizer.eos_token_id} if token is not None)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
