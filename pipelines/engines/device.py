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

from dataclasses import dataclass
from typing import Literal

from pipelines.errors import InputError, nearest
from pipelines.generation import Note

__all__ = ["DTYPES", "DeviceChoice", "choose_device", "has_bfloat16_instructions"]

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class DeviceChoice:
    """Where and how to compute.

    Attributes:
        device: ``cpu``, ``cuda`` or ``mps``.
        dtype: Number format of weights and activations, as torch names it.
        one_row: Whether one-row products read a bfloat16 copy of float32 weights.
        reason: Why, for ``cinquain doctor``.
    """

    device: Literal["cpu", "cuda", "mps"]
    dtype: str
    one_row: bool
    reason: Note

    @property
    def label(self) -> str:
        """The number format as provenance shows it."""
        return f"{self.dtype}+bfloat16 one-row" if self.one_row else self.dtype


def choose_device(device: str = "auto", dtype: str = "auto") -> DeviceChoice:
    """The device and number format for this machine.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: One of ``DTYPES``; anything but ``auto`` is taken as it is.

    Raises:
        InputError: ``device_unknown``, ``device_missing`` or ``dtype_unknown``.
    """
    import torch

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if dtype not in DTYPES:
        raise InputError("dtype_unknown", found=dtype, nearest=nearest(dtype, DTYPES))
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if present[name])
    if device not in present:
        raise InputError("device_unknown", found=device, nearest=nearest(device, ["auto", *present]))
    if not present[device]:
        raise InputError("device_missing", found=device, present=[name for name in present if present[name]])
    if dtype != "auto":
        return DeviceChoice(device, dtype, False, Note("dtype_asked", {"dtype": dtype}))  # type: ignore[arg-type]
    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return DeviceChoice("cuda", "bfloat16", False, Note("dtype_cuda_bfloat16"))
        return DeviceChoice("cuda", "float16", False, Note("dtype_cuda_float16"))
    if device == "mps":
        return DeviceChoice("mps", "float16", False, Note("dtype_mps"))
    if has_bfloat16_instructions():
        return DeviceChoice("cpu", "bfloat16", False, Note("dtype_cpu_bfloat16"))
    return DeviceChoice("cpu", "float32", True, Note("dtype_cpu_one_row"))


def has_bfloat16_instructions() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware (AVX512-BF16, AMX, ARM's BF16)."""
    import torch

    if not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.12
        return bool(torch.cpu._is_avx512_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
