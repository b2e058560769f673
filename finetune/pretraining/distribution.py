"""The processes of a pretraining run: one, or several that ``accelerate launch`` started (DDP, FSDP2)."""

import os
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
        cpu: Whether the run computes on processors.
        rank: Number of this process.
        count: How many there are.
        sharded: Whether the weights are divided among them (FSDP2).
    """

    def __init__(
        self,
        wait: Callable[[], None] = lambda: None,
        *,
        cpu: bool = True,
        rank: int = 0,
        count: int = 1,
        sharded: bool = False,
    ) -> None:
        self.wait, self.rank, self.count, self.sharded = wait, rank, count, sharded
        self._accelerator: Any = None
        if count > 1 or sharded:
            from accelerate import Accelerator  # type: ignore[import-untyped]

            # The layers are what FSDP divides; the launch file does not know what ours are called.
            os.environ.setdefault("FSDP_TRANSFORMER_CLS_TO_WRAP", "Layer")
            self._accelerator = Accelerator(cpu=cpu)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def prepare(self, model: nn.Module, optimizer: Any) -> tuple[nn.Module, Any]:
        """Model and optimizer as they are trained."""
        if self._accelerator is None:
            return model, optimizer
        prepared: tuple[nn.Module, Any] = self._accelerator.prepare(model, optimizer)
        return prepared

    def unsynced(self, model: nn.Module) -> AbstractContextManager[Any]:
        """While this lasts, gradients are added up in each process for itself."""
        return nullcontext() if self._accelerator is None else self._accelerator.no_sync(model)

    def summed(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.count > 1:
            torch.distributed.all_reduce(value)
        return value

    def any(self, wish: bool) -> bool:
        """Whether a process says so: all of them must do the same."""
        if self.count == 1:
            return wish
        return bool(self.summed(torch.tensor(float(wish), device=self._accelerator.device)) > 0)

    def agreed(self, number: int) -> int:
        """The first process's number."""
        if self.count == 1:
            return number
        return int(self.summed(torch.tensor(number if self.first else 0, device=self._accelerator.device)))

    def state(self, model: nn.Module, optimizer: Any) -> dict[str, Any]:
        """Weights and the optimizer's state, whole, on the processor; of no use but in the first process."""
        if not self.sharded:
            plain, inner = self._plain(model), getattr(optimizer, "optimizer", optimizer)
            return {"model": plain.state_dict(), "optimizer": inner.state_dict()}
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights, moments = get_state_dict(model, getattr(optimizer, "optimizer", optimizer), options=options)
        return {"model": weights, "optimizer": moments}

    def restore(self, model: nn.Module, optimizer: Any, state: dict[str, Any]) -> None:
        """Take back what ``state`` gave."""
        inner = getattr(optimizer, "optimizer", optimizer)
        if not self.sharded:
            self._plain(model).load_state_dict(state["model"])
            inner.load_state_dict(state["optimizer"])
            return
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

        options = StateDictOptions(full_state_dict=True)
        set_state_dict(
            model, inner, model_state_dict=state["model"], optim_state_dict=state["optimizer"], options=options
        )

    def weights(self, model: nn.Module, trained: nn.Module) -> dict[str, Any]:
        """The weights of a trained model, whole."""
        if not self.sharded:
            return model.state_dict()
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        return get_model_state_dict(trained, options=StateDictOptions(full_state_dict=True, cpu_offload=True))

    def _plain(self, model: nn.Module) -> nn.Module:
        return model if self._accelerator is None else self._accelerator.unwrap_model(model)
