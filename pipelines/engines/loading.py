"""Loading a model and its tokenizer with transformers, and saying in one sentence why it cannot be."""

import inspect
import warnings
from typing import Any

from pipelines.engines.device import DeviceChoice
from pipelines.engines.free_memory import free_memory, is_out_of_memory
from pipelines.engines.placement import Placement
from pipelines.errors import CinquainError, InputError
from pipelines.models.conversion import quiet_transformers
from pipelines.models.memory import gigabytes
from pipelines.models.source import ModelSource

__all__ = [
    "context_length",
    "first_line",
    "load_model",
]


def load_model(
    source: ModelSource, choice: DeviceChoice, placement: Placement, *, encoder_decoder: bool = False
) -> tuple[Any, Any]:
    """The model, ready for inference where it was placed, and its tokenizer.

    Args:
        source: Where it is.
        choice: Device, number format, quantization and attention.
        placement: Where its weights go.
        encoder_decoder: Whether it has an encoder and a decoder; else it is a causal language model.

    Raises:
        InputError: ``model_load_failed`` with transformers' own reason, ``model_weights_missing``,
            ``model_without_cache``, ``quantization_twice``, ``quantized_cannot_run``,
            ``attention_unsupported``.
        CinquainError: ``memory_exhausted_loading``.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    if choice.quantization and placement.shape and (placement.shape.gguf or placement.shape.stored is not None):
        raise InputError("quantization_twice", model=source.reference)
    if choice.attention_reason.code == "attention_asked" and placement.shape:
        known = ["eager", *placement.shape.attention]
        if choice.attention not in known:
            raise InputError("attention_unsupported", model=source.reference, found=choice.attention, known=known)
    kind: Any = AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM
    try:
        with quiet_transformers(), warnings.catch_warnings():  # bars and tables would only tear the terminal's lines
            warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")  # Marian's own wish
            tokenizer = AutoTokenizer.from_pretrained(**source.arguments())
            loaded = kind.from_pretrained(
                **source.arguments(),
                **placement.arguments(),
                **_implementation(choice),
                dtype=getattr(torch, choice.dtype),
                use_safetensors=None if source.kind == "gguf" else True,  # never a pickle, from the Hub neither
                output_loading_info=True,
            )
    except Exception as error:
        _explain(error, source, choice)
        # Files of strangers fail in many ways (OSError, ValueError, KeyError, SafetensorError, RuntimeError…); each of
        # them means the same to the person: this model cannot be loaded, and why.
        raise InputError("model_load_failed", model=source.reference, reason=first_line(error)) from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):  # transformers fills them with random numbers and goes on
        raise InputError(
            "model_weights_missing", model=source.reference, count=len(missing), names=", ".join(missing[:3])
        )
    if "past_key_values" not in inspect.signature(model.forward).parameters:  # a cache would be ignored in silence
        raise InputError("model_without_cache", model=source.reference, architecture=model.config.model_type)
    return model.eval().requires_grad_(False), tokenizer


def _implementation(choice: DeviceChoice) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` for quantization, and for attention where one was asked for by name."""
    import torch

    arguments: dict[str, Any] = {}
    if choice.attention_reason.code == "attention_asked":
        arguments["attn_implementation"] = choice.attention
    if choice.quantization:
        from transformers import BitsAndBytesConfig

        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=choice.quantization == "8bit",
            load_in_4bit=choice.quantization == "4bit",
            bnb_4bit_quant_type="nf4",  # made for normally distributed weights (QLoRA, arXiv:2305.14314)
            bnb_4bit_use_double_quant=True,  # 0.4 bits less per weight, for nothing that was measurable there
            bnb_4bit_compute_dtype=getattr(torch, choice.dtype),
        )
    return arguments


def _explain(error: Exception, source: ModelSource, choice: DeviceChoice) -> None:
    """Raise the error that says why loading failed, where the reason is one of this machine's, not of the files."""
    from transformers import AutoConfig
    from transformers.quantizers import AutoHfQuantizer

    if is_out_of_memory(error):
        device = "cuda:0" if choice.device == "cuda" else choice.device
        free = gigabytes(max(0, free_memory(device)))
        raise CinquainError("memory_exhausted_loading", model=source.reference, device=device, free=free) from error
    try:
        config = AutoConfig.from_pretrained(**source.arguments())
        settings = config.quantization_config
        method = settings["quant_method"]
    except Exception:  # not a quantized model, or not even a model: the first error says what is wrong
        return
    try:
        AutoHfQuantizer.from_config(settings, pre_quantized=True).validate_environment(device_map={"": choice.device})
    except Exception as problem:  # each of the quantizers has its own
        raise InputError(
            "quantized_cannot_run",
            model=source.reference,
            method=method,
            device=choice.device,
            reason=first_line(problem),
        ) from error


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


def first_line(error: Exception) -> str:
    """What an error of a library says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300].rstrip('.')}" if lines else type(error).__name__
