"""What a model is made of, counted before it is loaded: elements of its weights, layers and widths of its cache.

Nothing is read but the configuration (and a GGUF's header, which is one): the model is built on torch's meta device,
which allocates nothing. 0.06 s for SmolLM2-135M.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipelines.models.conversion import quiet_transformers
from pipelines.models.source import ModelSource

__all__ = ["ModelShape", "shape_of"]

# Bits of a weight in checkpoints whose file cannot be looked at yet; the scales beside the weights included.
_PACKED_BITS = {"mxfp4": 4.25, "fp8": 8.1, "fbgemm_fp8": 8.1, "finegrained_fp8": 8.1, "compressed-tensors": 8.1}


@dataclass(frozen=True)
class ModelShape:
    """Counts of elements, unless said otherwise.

    Attributes:
        parameters: All weights; what two layers share is counted once.
        linear: Of these, the weights of linear layers other than the output layer: what bitsandbytes packs.
        linear_rows: Output features of those layers; 8-bit weights have a scale for each.
        one_row: Weights and biases of all linear layers, which ``one_row.py`` copies.
        largest: The largest single weight.
        float32_in_half: Weights that transformers keeps in float32 when the rest is float16.
        float32_always: Weights that it keeps in float32 whatever the rest is.
        buffers: Bytes of what is not learned (rotary frequencies, masks).
        stored: Bytes of the weights of a checkpoint that is quantized already, else None.
        hidden: Width of the residual stream.
        inner: Width inside the feed-forward blocks that one token passes.
        heads: Attention heads.
        groups: Key/value heads; fewer than ``heads`` in grouped-query attention.
        head: Size of a head.
        state: Keys and values of one token in one layer.
        windows: For each layer that keeps keys and values, the tokens that it looks back, None for all.
        recurrent: Layers that keep a state of fixed size instead.
        vocabulary: Entries of the vocabulary.
        all_logits: Whether a pass gives the logits of every position, not only of the last.
        gguf: Whether the weights are unpacked from a GGUF file.
        attention: Kinds of attention that the model's class can run besides ``eager``.
        approximate: Why an estimate is rougher than for a plain transformer: short names.
    """

    parameters: int
    linear: int
    linear_rows: int
    one_row: int
    largest: int
    hidden: int
    inner: int
    heads: int
    groups: int
    head: int
    state: int
    windows: tuple[int | None, ...]
    vocabulary: int
    recurrent: int = 0
    float32_in_half: int = 0
    float32_always: int = 0
    buffers: int = 0
    stored: int | None = None
    all_logits: bool = False
    gguf: bool = False
    attention: tuple[str, ...] = ("sdpa",)
    approximate: tuple[str, ...] = ()


def shape_of(source: ModelSource) -> ModelShape:
    """Count what a model is made of; of a Hub model only its ``config.json`` is fetched.

    Raises:
        Exception: Whatever transformers raises for a configuration that it cannot read or build.
    """
    if source.kind == "gguf":
        from pipelines.models.gguf_shape import gguf_shape

        assert source.path is not None
        return gguf_shape(source.path)
    from transformers import AutoConfig

    with quiet_transformers():
        config = AutoConfig.from_pretrained(**source.arguments())
        shape = _shape_of_config(config, source)
    return shape


def _shape_of_config(config: Any, source: ModelSource) -> ModelShape:
    import inspect

    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers.pytorch_utils import Conv1D

    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(config, dtype=torch.float32)
    head = model.get_output_embeddings()
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear | Conv1D)]
    packed = [layer.weight for layer in layers if layer is not head]
    # Tied weights are one object, also on the meta device, where no address tells them apart.
    copied = {id(each): each for layer in layers if type(layer) is torch.nn.Linear for each in layer.parameters()}
    # Of an encoder–decoder, get_text_config(decoder=True) gives a new configuration full of defaults (BART, Marian).
    text = config if config.is_encoder_decoder else config.get_text_config(decoder=True)
    parameters = dict(model.named_parameters())
    strict = _matching(parameters, model._keep_in_fp32_modules_strict)
    half = _matching(parameters, model._keep_in_fp32_modules) - strict
    windows, recurrent = _cached_layers(config)
    quantization = getattr(config, "quantization_config", None) or getattr(text, "quantization_config", None)
    weights = sum(each.numel() for each in parameters.values())
    heads = _first(text, "decoder_attention_heads", "num_attention_heads", "num_heads") or 1  # Mamba has none
    hidden = _first(text, "hidden_size", "d_model")
    size = _first(text, "head_dim", "d_kv") or hidden // heads
    groups = 1 if getattr(text, "multi_query", False) else _first(text, "num_key_value_heads", "num_kv_heads") or heads
    compressed = _first(text, "kv_lora_rank")  # DeepSeek's attention keeps one short vector for all heads
    state = compressed + _first(text, "qk_rope_head_dim") if compressed else 2 * groups * size
    experts = _first(text, "num_experts_per_tok", "num_experts_per_token")
    inner = max([layer.weight.shape[-1 if type(layer) is torch.nn.Linear else 0] for layer in layers], default=hidden)
    return ModelShape(
        parameters=weights,
        linear=sum(weight.numel() for weight in packed),
        linear_rows=sum(weight.shape[0] for weight in packed),
        one_row=sum(each.numel() for each in copied.values()),
        largest=max(each.numel() for each in parameters.values()),
        hidden=hidden,
        inner=max(inner, experts * _first(text, "moe_intermediate_size", "intermediate_size")),
        heads=heads,
        groups=groups,
        head=size,
        state=state,
        windows=windows,
        vocabulary=text.vocab_size,
        recurrent=recurrent,
        float32_in_half=sum(parameters[name].numel() for name in half),
        float32_always=sum(parameters[name].numel() for name in strict),
        buffers=sum(buffer.numel() * buffer.element_size() for buffer in model.buffers()),
        stored=_stored(source, quantization, weights) if quantization else None,
        # A decoder beside an encoder reads a token or two at once.
        all_logits=not config.is_encoder_decoder
        and "logits_to_keep" not in inspect.signature(model.forward).parameters,
        attention=("sdpa",) * model._supports_sdpa + ("flash_attention_2",) * model._supports_flash_attn,
        approximate=tuple(
            word
            for word, rough in (
                ("recurrent_layers", recurrent > 0),
                ("compressed_attention", compressed > 0),
                ("experts", experts > 0),
                ("quantized_checkpoint", quantization is not None),
            )
            if rough
        ),
    )


def _cached_layers(config: Any) -> tuple[tuple[int | None, ...], int]:
    """Windows of the layers that keep keys and values, and how many layers are recurrent."""
    from transformers import DynamicCache

    if config.is_encoder_decoder:  # its own states, and those of the text that it reads
        return (None,) * (2 * _first(config, "decoder_layers", "num_decoder_layers", "num_layers")), 0
    layers = DynamicCache(config=config).layers
    windows = tuple(getattr(layer, "sliding_window", None) for layer in layers if hasattr(layer, "keys"))
    return windows, sum("Linear" in type(layer).__name__ for layer in layers)


def _stored(source: ModelSource, quantization: Any, parameters: int) -> int | None:
    """Bytes of quantized weights: those of the files where they are here, else by the bits of the method.

    None where transformers unpacks them while it loads, as it does with FP8 and MXFP4 on a machine without their
    kernels.
    """
    from transformers.quantizers import AutoHfQuantizer

    with suppress(Exception):  # one that cannot run at all says so when it is loaded
        quantizer = AutoHfQuantizer.from_config(quantization, pre_quantized=True)
        quantizer.validate_environment(device_map=None)
        if getattr(quantizer.quantization_config, "dequantize", False):
            return None
    if source.path is not None:
        return sum(file.stat().st_size for file in source.path.glob("*.safetensors"))
    settings = quantization if isinstance(quantization, dict) else quantization.to_dict()
    bits = settings.get("bits") or (4.5 if settings.get("load_in_4bit") else 8.1)
    return round(parameters * float(_PACKED_BITS.get(str(settings.get("quant_method")), bits)) / 8)


def _matching(names: Iterable[str], patterns: Iterable[str] | None) -> set[str]:
    """Names in which one of transformers' patterns stands as a whole part."""
    expressions = [re.compile(rf"(^|\.){pattern}(\.|$)") for pattern in patterns or ()]
    return {name for name in names if any(expression.search(name) for expression in expressions)}


def _first(config: Any, *names: str) -> int:
    """The first of these settings that a configuration has; 0 where it has none. Each family has its own names."""
    return next((int(value) for name in names if isinstance(value := getattr(config, name, None), int) and value), 0)
