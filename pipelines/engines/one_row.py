"""A float32 model that decodes a single stream from bfloat16 copies of its weights.

For processors without bfloat16 instructions (see ``device.py`` for the figures): their matrix products are slow in
bfloat16, but a product with one row only streams the weights from memory, and half the bytes take less than half the
time.
"""

import torch

__all__ = ["OneRowLinear", "use_one_row_copies"]


class OneRowLinear(torch.nn.Linear):
    """A Linear with a second, bfloat16 weight for inputs of one row."""

    one_row_weight: torch.Tensor
    one_row_bias: torch.Tensor | None

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's own name for it
        """Multiply; shapes (..., in features) to (..., out features)."""
        if input.numel() != self.in_features:
            return super().forward(input)
        return torch.nn.functional.linear(input.bfloat16(), self.one_row_weight, self.one_row_bias).float()


def use_one_row_copies(model: torch.nn.Module, *, anew: bool = False) -> None:
    """Give every linear layer of a float32 model its bfloat16 copy.

    Activations, normalisation, attention and the cache stay float32, so rounding does not build up over layers: only
    the weights lose bits. Costs half of the weights' memory.

    Args:
        model: The model, or one layer of it.
        anew: Make those copies again that are there, and no others: the weights have changed.
    """
    copies: dict[int, torch.Tensor] = {}  # tied weights (embedding and output layer) share their copy too
    for module in list(model.modules()):
        if type(module) is (OneRowLinear if anew else torch.nn.Linear):
            copy = copies.setdefault(module.weight.data_ptr(), module.weight.detach().bfloat16())
            module.register_buffer("one_row_weight", copy, persistent=False)
            bias = None if module.bias is None else module.bias.detach().bfloat16()
            module.register_buffer("one_row_bias", bias, persistent=False)
            # The class is changed in place: a new module would lose hooks and the tie between embedding and output.
            module.__class__ = OneRowLinear
