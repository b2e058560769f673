"""The processes of a pretraining run: one, or several that ``accelerate launch`` started (DDP, FSDP2)."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Distribution"]


class Distribution:
    """This process among those of the run.

    Args:
        wait: Waits until all processes are here.
        device: Where this one computes.
        rank: Number of this process.
        count: How many there are.
        sharded: Whether the weights are divided among them (FSDP2).
    """

    def __init__(
        self,
        wait: Callable[[], None] = lambda: None,
        *,
        device: str = "cpu",
        rank: int = 0,
        count: int = 1,
        sharded: bool = False,
    ) -> None:
        self.wait, self.device, self.rank, self.count, self.sharded = wait, device, rank, count, sharded

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def shard(self, model: Any, dtype: torch.dtype) -> torch.dtype:
        """Divide the weights, where they are to be, layer by layer.

        FSDP2 keeps its parts in float32 and computes with casts of them: copies of our own are not needed then.

        Args:
            model: The model, in float32.
            dtype: What it is to compute in.

        Returns:
            What its weights are to be cast to.
        """
        if not self.sharded:
            return dtype
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
        for layer in model.layers:
            fully_shard(layer, mp_policy=policy)
        fully_shard(model, mp_policy=policy)
        return torch.float32

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model as it is trained: with gradients that are the mean of all processes."""
        if self.sharded or self.count == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model, device_ids=None if self.device == "cpu" else [self.device])

    def unsynced(self, model: Any) -> AbstractContextManager[Any]:
        """While this lasts, gradients are added up in each process for itself."""
        return model.no_sync() if hasattr(model, "no_sync") else nullcontext()

    def summed(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.count > 1:
            torch.distributed.all_reduce(value)
        return value

    def any(self, wish: bool) -> bool:
        """Whether a process says so: all of them must do the same."""
        if self.count == 1:
            return wish
        return bool(self.summed(torch.tensor(float(wish), device=self.device)) > 0)

    def agreed(self, number: int) -> int:
        """The first process's number."""
        if self.count == 1:
            return number
        return int(self.summed(torch.tensor(number if self.first else 0, device=self.device)))
