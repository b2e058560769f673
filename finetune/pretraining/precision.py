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
                master.grad, weight.grad = weight.grad.to(master.dtype), None
        nn.utils.clip_grad_norm_(self.masters, max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.publish()

    def publish(self) -> None:
        """Have the model compute with what the float32 weights are now."""
        if self.masters is not self.weights:
            with torch.no_grad():
                torch._foreach_copy_(self.weights, self.masters)
