"""The processes of a run: one, or several that ``accelerate launch`` started."""

import os
from datetime import timedelta
from typing import Any

from pipelines.engines.device import DeviceChoice
from pipelines.errors import CinquainError, InputError

__all__ = ["Processes", "require_divided"]

_PATIENCE = timedelta(hours=12)
"""How long a process waits for the first one, which prepares the rows alone."""


class Processes:
    """This process among those of the run.

    Args:
        choice: Where it computes.

    Attributes:
        count: How many there are.
        rank: Number of this one.
        sharded: Whether the weights are divided among them.

    Raises:
        InputError: ``sharded_on_cpu``: FSDP and DeepSpeed divide the weights among GPUs.
    """

    def __init__(self, choice: DeviceChoice) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self._state: Any = None
        kinds = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
        how = next((word for name, word in kinds.items() if os.environ.get(name, "").lower() in {"true", "1"}), None)
        self.sharded = how is not None
        if how and choice.kind != "cuda":
            raise InputError("sharded_on_cpu", how=how, device=choice.device)
        if self.count > 1:
            from accelerate import PartialState  # type: ignore[import-untyped]

            self._state = PartialState(cpu=choice.kind == "cpu", timeout=_PATIENCE)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self._state is not None:
            self._state.wait_for_everyone()


def require_divided(model: Any, processes: int) -> None:
    """See that each process holds its part of the weights, and no more: a wrapper that wraps nothing divides nothing.

    Args:
        model: The model as it was prepared for training.
        processes: How many there are.

    Raises:
        CinquainError: ``not_divided`` with both numbers.
    """
    whole, here = 0, 0
    for weights in model.parameters():
        whole += getattr(weights, "ds_numel", weights.numel())
        if hasattr(weights, "ds_tensor"):  # DeepSpeed
            here += weights.ds_tensor.numel()
        else:
            here += (weights.to_local() if hasattr(weights, "to_local") else weights).numel()
    # Parts of the same size, and a little that does not divide evenly.
    if processes > 1 and here > 1.5 * whole / processes:
        raise CinquainError("not_divided", here=here, whole=whole, processes=processes)
