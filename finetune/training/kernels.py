"""Which of torch's attention kernels training may use."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.engines.device import DeviceChoice

__all__ = ["attention_kernels"]


@contextmanager
def attention_kernels(choice: DeviceChoice) -> Iterator[None]:
    """All but cuDNN's on CUDA, for as long as the block runs.

    With a mask, its backward pass gives NaN for queries whenever the columns of a pass are 64 more than a multiple of
    128 and a score lies far below zero (Hopper GPUs, torch 2.11 to 2.13, pytorch issue 196678). Seen here on an H100:
    SmolLM2-135M on padded rows broke off at step 47. Without a mask torch takes its flash kernel anyway.
    """
    if choice.kind != "cuda":
        yield
        return
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        yield
