"""Whether the rows of a pass may be laid end to end, and whether that is worth it."""

from typing import Any, Literal

from finetune.training.examples import Examples
from finetune.training.trainer import inputs_for
from pipelines.engines.device import DeviceChoice
from pipelines.models.shape import ModelShape

__all__ = ["can_pack", "packs", "shared_tokens"]

_WORTH = 0.1
"""Share of the tokens that must be saved: attention over a long row of many costs more than over each of them."""


def packs(
    wanted: Literal["auto", "on", "off"],
    model: Any,
    shape: ModelShape | None,
    examples: Examples,
    choice: DeviceChoice,
) -> bool:
    """Whether to lay rows end to end.

    Args:
        wanted: What the recipe says; a model that cannot is trained on padded rows all the same, as the result is the
            same.
        model: The model.
        shape: What it is made of.
        examples: What it learns from.
        choice: Where it is computed.
    """
    if wanted == "off" or not can_pack(model, shape, int(examples.lengths.max())):
        return False
    if wanted == "on":
        return True
    saved = shared_tokens(examples)
    # A mask of tokens x tokens keeps CUDA from its fastest attention.
    return choice.kind == "cpu" and saved / float(examples.lengths.mean()) > _WORTH


def can_pack(model: Any, shape: ModelShape | None, longest: int) -> bool:
    """Whether a mask and positions are all that keeps rows apart in a model.

    Not where layers look back a fixed number of tokens or carry a state from token to token, nor where attention takes
    no such mask, nor where positions come from the place in the row alone.
    """
    if model.config.is_encoder_decoder or shape is None or shape.recurrent:
        return False
    if any(window is not None and window < longest for window in shape.windows):
        return False
    text = model.config.get_text_config(decoder=True)
    return text._attn_implementation == "sdpa" and "position_ids" in inputs_for(model)


def shared_tokens(examples: Examples, sample: int = 64) -> int:
    """Tokens without loss that the examples begin with, all of them: what a pass computes once."""
    step = max(1, len(examples) // sample)
    taken = [examples[place] for place in range(0, len(examples), step)]
    first = taken[0]
    count = min(len(each.tokens) for each in taken) - 1
    for each in taken:
        for place in range(count):
            if each.tokens[place] != first.tokens[place] or each.labels[place]:
                count = place
                break
    return count
