"""Weights in bfloat16 for the arithmetic, and in float32 for what is added to them."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["MasterWeights"]

Build = Callable[[Iterable[tuple[str, Tensor]]], torch.optim.Optimizer]


class MasterWeights:
    """An optimizer of float32 copies of a model's weights; the model itself computes in ``dtype``.

    A step adds less than bfloat16 can tell from nothing: 1 + 0.003 is 1 in it. So the sums are kept in float32
    (Micikevicius et al. 2018, arXiv:1710.03740, section 3.1). Autocast does the same, but keeps the stream between the
    layers in float32, and casts it for every product.

    Args:
        model: The model; its weights are cast.
        dtype: What it computes in; float32 leaves it as it is, without copies.
        build: Makes the optimizer of the float32 weights, given as (name, weight).
    """

    def __init__(
        self,
        model: nn.Module,
        dtype: torch.dtype,
        build: Callable[[Iterable[tuple[str, Tensor]]], torch.optim.Optimizer],
    ) -> None:
        named = list(model.named_parameters())
        self.names = [name for name, _ in named]
        self.weights: list[Any] = [weight for _, weight in named]
        self.masters: list[Any] = self.weights
        if dtype != torch.float32:
            self.masters = [weight.detach().float().clone() for weight in self.weights]
            for weight in self.weights:
                weight.data = weight.data.to(dtype)
        self.optimizer = build(zip(self.names, self.masters, strict=True))

    def step(self, learning_rate: float, max_grad_norm: float) -> None:
        """Clip the gradients, take a step, and forget them."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if self.masters is not self.weights:
            for master, weight in zip(self.masters, self.weights, strict=True):
                master.grad, weight.grad = weight.grad.float(), None
        nn.utils.clip_grad_norm_(self.masters, max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.publish()

    def publish(self) -> None:
        """Have the model compute with what the float32 weights are now."""
        if self.masters is not self.weights:
            with torch.no_grad():
                torch._foreach_copy_(self.weights, self.masters)

    def whole(self) -> dict[str, Tensor]:
        """The weights by name, float32; all processes of a divided model must ask at once."""
        return {name: _whole(master) for name, master in zip(self.names, self.masters, strict=True)}

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: weights and the optimizer's sums, whole."""
        sums = [{key: _whole(value) for key, value in self.optimizer.state[master].items()} for master in self.masters]
        return {"weights": self.whole(), "sums": dict(zip(self.names, sums, strict=True))}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        with torch.no_grad():
            for name, master in zip(self.names, self.masters, strict=True):
                master.copy_(_placed(state["weights"][name], master))
                sums = state["sums"][name].items()
                self.optimizer.state[master] = {key: _placed(value, master) for key, value in sums}
        self.publish()


def _whole(tensor: Any) -> Tensor:
    """A tensor on the processor, put together where processes hold parts of it."""
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found.detach().cpu()


def _placed(tensor: Tensor, like: Any) -> Any:
    """A tensor where another one is: on its device, and divided as that is."""
    if hasattr(like, "device_mesh") and tensor.shape == like.shape:
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return tensor.to(like.device)
