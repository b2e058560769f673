"""Where a model runs and in which number format, with the reason.

bfloat16 halves the bytes that each token reads. Whether it is also fast depends on the processor, and on how many
rows are multiplied at once. Measured with torch 2.13, two threads, a 1536 x 576 matrix:

    processor                  rows   float32   bfloat16
    with AVX512-BF16 or AMX       1    231 us     115 us
    with AVX512-BF16 or AMX      16  (205 GFLOP/s) (860 GFLOP/s)
    AVX2 only                     1    314 us      73 us
    AVX2 only                    16    469 us    1258 us

So with bfloat16 instructions the whole model runs in bfloat16; without them it runs in float32 and only one-row
products (the decoding of a single stream) read a bfloat16 copy of the weights.
"""

import sys
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from pipelines.errors import InputError, nearest
from pipelines.generation import Note

__all__ = [
    "ATTENTIONS",
    "DTYPES",
    "QUANTIZATIONS",
    "DeviceChoice",
    "choose_device",
    "has_bfloat16_instructions",
    "settled",
]

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("8bit", "4bit")
ATTENTIONS = ("auto", "sdpa", "eager", "flash_attention_2")


@dataclass(frozen=True)
class DeviceChoice:
    """Where and how to compute.

    Attributes:
        device: ``cpu``, ``mps``, ``cuda`` (one GPU or several, as the model needs) or ``cuda:1`` (this one only).
        dtype: Number format of weights and activations, as torch names it.
        one_row: Whether one-row products read a bfloat16 copy of float32 weights.
        reason: Why, for ``cinquain doctor``.
        quantization: ``8bit`` or ``4bit``: linear layers packed by bitsandbytes when they are loaded.
        attention: How attention is computed, as transformers names it.
        attention_reason: Why, for ``cinquain doctor``.
    """

    device: str
    dtype: str
    one_row: bool
    reason: Note
    quantization: str | None = None
    attention: str = "sdpa"
    attention_reason: Note = field(default_factory=lambda: Note("attention_sdpa"))

    @property
    def kind(self) -> str:
        """The device without its number."""
        return self.device.partition(":")[0]

    @property
    def label(self) -> str:
        """The number format as provenance shows it."""
        if self.quantization:
            return f"{self.quantization}+{self.dtype}"
        return f"{self.dtype}+bfloat16 one-row" if self.one_row else self.dtype


def choose_device(
    device: str = "auto", dtype: str = "auto", quantization: str | None = None, attention: str = "auto"
) -> DeviceChoice:
    """The device and number format for this machine.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: One of ``DTYPES``; anything but ``auto`` is taken as it is.
        quantization: One of ``QUANTIZATIONS``, or None for weights as they are.
        attention: One of ``ATTENTIONS``. ``auto`` takes torch's fused kernels, which need no other package.

    Raises:
        InputError: ``device_unknown``, ``device_missing``, ``dtype_unknown``, ``quantization_unknown``,
            ``quantization_device``, ``quantization_package``, ``attention_unknown``, ``attention_flash_device``,
            ``attention_flash_dtype`` or ``attention_flash_package``.
    """
    if dtype not in DTYPES:
        raise InputError("dtype_unknown", found=dtype, nearest=nearest(dtype, DTYPES))
    device = _present(device)
    choice = _number_format(device, dtype)
    if quantization is not None:
        _check_quantization(quantization, choice)
    choice = replace(choice, quantization=quantization, one_row=choice.one_row and quantization is None)
    _check_attention(attention, choice)
    if attention == "auto":
        return choice
    return replace(choice, attention=attention, attention_reason=Note("attention_asked", {"attention": attention}))


def settled(choice: DeviceChoice, model: Any) -> DeviceChoice:
    """The choice with the attention that a loaded model runs: some families have none of torch's fused kernels."""
    # Of an encoder–decoder, get_text_config(decoder=True) gives a new configuration full of defaults (BART, Marian).
    config = model.config if model.config.is_encoder_decoder else model.config.get_text_config(decoder=True)
    found = config._attn_implementation or "eager"
    if found == choice.attention:
        return choice
    return replace(choice, attention=found, attention_reason=Note("attention_family", {"attention": found}))


def _present(device: str) -> str:
    """The device that is meant, once it is known to be there."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    present = [f"cuda:{index}" for index in range(count)] + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if device == "auto":
        return present[0].partition(":")[0]
    if device in present or (device == "cuda" and count):
        return device
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
        raise InputError("device_unknown", found=device, nearest=nearest(device, ["auto", "cpu", "cuda", "mps"]))
    raise InputError("device_missing", found=device, present=present)


def _number_format(device: str, dtype: str) -> DeviceChoice:
    import torch

    if dtype != "auto":
        return DeviceChoice(device, dtype, False, Note("dtype_asked", {"dtype": dtype}))
    if device.startswith("cuda"):
        with torch.cuda.device(torch.device(device)):  # torch answers for the current GPU
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        if native:
            return DeviceChoice(device, "bfloat16", False, Note("dtype_cuda_bfloat16"))
        return DeviceChoice(device, "float16", False, Note("dtype_cuda_float16"))
    if device == "mps":
        return DeviceChoice("mps", "float16", False, Note("dtype_mps"))
    if has_bfloat16_instructions():
        return DeviceChoice("cpu", "bfloat16", False, Note("dtype_cpu_bfloat16"))
    return DeviceChoice("cpu", "float32", True, Note("dtype_cpu_one_row"))


def _check_quantization(quantization: str, choice: DeviceChoice) -> None:
    if quantization not in QUANTIZATIONS:
        raise InputError("quantization_unknown", found=quantization, nearest=nearest(str(quantization), QUANTIZATIONS))
    if choice.kind != "cuda":
        raise InputError("quantization_device", found=quantization, device=choice.device)
    if find_spec("bitsandbytes") is None:
        raise InputError("quantization_package", found=quantization, line=_install_line("bitsandbytes"))


def _check_attention(attention: str, choice: DeviceChoice) -> None:
    if attention not in ATTENTIONS:
        raise InputError("attention_unknown", found=attention, nearest=nearest(str(attention), ATTENTIONS))
    if attention != "flash_attention_2":
        return
    if choice.kind != "cuda":
        raise InputError("attention_flash_device", device=choice.device)
    if choice.dtype == "float32":
        raise InputError("attention_flash_dtype", dtype=choice.dtype)
    if find_spec("flash_attn") is None:
        raise InputError("attention_flash_package", line=_install_line("flash-attn --no-build-isolation"))


def _install_line(package: str) -> str:
    return f"{sys.executable} -m pip install {package}"


def has_bfloat16_instructions() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware (AVX512-BF16, AMX, ARM's BF16)."""
    import torch

    if not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.12
        return bool(torch.cpu._is_avx512_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
