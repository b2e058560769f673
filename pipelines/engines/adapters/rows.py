"""Rows of one batch under different LoRA adapters."""

from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

__all__ = ["Rows", "adds_to_rows", "lora_layers"]


@dataclass
class Rows:
    """Which adapter answers each row of a running batch; equal ones must be neighbours.

    Attributes:
        keys: Key of the adapter of each row; None for the base model.
        parts: (key, first row, row after the last) of the rows that have an adapter; None for the end where all rows
            have the same, however many the model makes of them (beams).
    """

    keys: list[str | None]
    parts: list[tuple[str, int, int | None]] = field(init=False)

    def __post_init__(self) -> None:
        self.keep(list(range(len(self.keys))))

    def keep(self, kept: list[int]) -> None:
        """Keep only the rows at these places, which must be in ascending order."""
        self.keys = [self.keys[place] for place in kept]
        self.parts, start = [], 0
        for key, group in groupby(self.keys):
            end = start + len(list(group))
            if key is not None:
                self.parts.append((key, start, None if len(set(self.keys)) == 1 else end))
            start = end

    def add_to(self, layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """A forward hook for LoRA layers that are switched off: adds each adapter's part to its own rows.

        The sum is PEFT's (``lora.layer.Linear._mixed_batch_forward``), over slices instead of gathered rows.
        """
        for key, start, end in self.parts:
            if key in layer.lora_A:
                down, up = layer.lora_A[key], layer.lora_B[key]
                low_rank = up(down(inputs[0][start:end].to(down.weight.dtype))) * layer.scaling[key]
                output[start:end] += low_rank.to(output.dtype)


def adds_to_rows(model: Any, key: str) -> bool:
    """Whether all that an adapter does is to add a low-rank product to the output of layers that see one row as one.

    Runs the model once, on two rows of three tokens, with the adapter in force.
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    layers: list[Any] = []
    plain = True
    for module in model.modules():
        if isinstance(module, AuxiliaryTrainingWrapper):
            plain = plain and key not in module._get_available_adapters()
        elif isinstance(module, BaseTunerLayer) and key in module._get_available_adapters():
            plain = plain and _is_plain(module, key)
            layers.append(module)
    # Some models lay all tokens of a batch in one row before a layer, or send them to experts: ask the model.
    lengths: dict[Any, set[int]] = {layer: set() for layer in layers}
    hooks = [each.register_forward_pre_hook(lambda layer, args: lengths[layer].add(len(args[0]))) for each in layers]
    try:
        ids = torch.zeros((2, 3), dtype=torch.long, device=model.device)
        more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
        with torch.inference_mode():
            model(input_ids=ids, use_cache=False, **more)
    finally:
        for hook in hooks:
            hook.remove()
    return plain and all(seen == {2} for seen in lengths.values())


def _is_plain(layer: Any, key: str) -> bool:
    """Whether a layer is a linear one with plain LoRA; not so DoRA, an embedding, experts of a mixture."""
    import torch
    from peft.tuners.lora.layer import LoraLayer, ParamWrapper
    from transformers.pytorch_utils import Conv1D

    lora = isinstance(layer, LoraLayer) and not isinstance(layer, ParamWrapper)
    if not lora or key not in layer.lora_A or key in layer.lora_variant:
        return False
    return isinstance(layer.get_base_layer(), torch.nn.Linear | Conv1D)


def lora_layers(model: Any, keys: set[str]) -> list[Any]:
    """The LoRA layers of these adapters."""
    from peft.tuners.lora.layer import LoraLayer

    return [each for each in model.modules() if isinstance(each, LoraLayer) and keys & each.lora_A.keys()]
