"""How much memory a step of training takes, before it is taken; and the smallest change with which it would fit.

The weights are what ``pipelines.models.memory`` counts. Besides them a step holds the adapter four times over (itself,
its gradient, and two averages of AdamW) and, until the gradients are known, what every layer computed for every token
(arXiv:2205.05198 counts the same, for weights that are all trained). Frozen layers keep nothing for gradients of their
own, but the adapter on each of them keeps the layer's input.
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from finetune.recipe import AdapterConfig
from pipelines.engines.device import DeviceChoice
from pipelines.models.memory import estimate
from pipelines.models.shape import ModelShape

__all__ = ["Need", "Step", "changes_that_fit", "give_large_blocks_back", "memory_of"]

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_M_MMAP_THRESHOLD, _LARGE = -3, 1 << 20


def give_large_blocks_back() -> None:
    """Have the C library return memory of a megabyte and more to the system as soon as it is free.

    glibc keeps it for later and then does not find it again, as torch asks for aligned blocks: passes of 512 tokens
    through the embedded model took 2,060 MB in float32, and with this 1,012, at the same speed. From a quarter of a
    megabyte on it would be 896 MB, and a third slower.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


@dataclass(frozen=True)
class Step:
    """What decides the memory of a step.

    Attributes:
        choice: Device, number format, quantization.
        pass_tokens: Padded tokens of its largest pass.
        longest: Tokens of the longest row.
        trained: Targets of the pass that has most of them.
        checkpointing: Whether activations are computed twice.
    """

    choice: DeviceChoice
    pass_tokens: int
    longest: int
    trained: int
    checkpointing: bool


@dataclass(frozen=True)
class Need:
    """Bytes, by what takes them.

    Attributes:
        weights: The base model.
        adapter: The adapter, its gradient and its optimizer.
        activations: What the layers keep of a pass.
        logits: The pass's logits, and what their loss keeps.
    """

    weights: int
    adapter: int
    activations: int
    logits: int

    @property
    def step(self) -> int:
        """What a step takes on top of a model that is loaded, its adapter included."""
        return self.adapter * 3 // 4 + self.activations + self.logits

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.adapter + self.activations + self.logits


def memory_of(shape: ModelShape, trainable: int, adapter: AdapterConfig, step: Step) -> Need:
    """The memory that training takes at its largest pass.

    Args:
        shape: What the base is made of.
        trainable: Weights of the adapter.
        adapter: What the adapter is like.
        step: What the step is like.
    """
    size = _BYTES[step.choice.dtype]
    held = estimate(shape, step.choice, tokens=1)
    tokens = max(step.pass_tokens, step.longest)
    layers = max(1, len(shape.windows) + shape.recurrent)
    attention = shape.heads * shape.head
    # What autograd keeps of a layer for each token (``torch.autograd.graph.saved_tensors_hooks`` shows it): the inputs
    # of two norms in float32, queries, keys, values and what attention made of them, three widths of the feed-forward
    # block, and what goes into each adapter. In float32 adapters of the same input share it; autocast hands each of
    # them a copy in half precision.
    inputs = 2 * shape.hidden + shape.inner if size == 4 else 5 * shape.hidden + attention + shape.inner
    layer = 2 * shape.hidden * 4 + (4 * attention + 3 * shape.inner + inputs + 7 * adapter.rank) * size
    if adapter.dropout:
        layer += 4 * (5 * shape.hidden + attention + shape.inner)
    layer += step.longest * size  # its mask
    rows = max(1, tokens // max(1, step.longest))
    scores = 0
    if step.choice.attention == "eager" or "sdpa" not in shape.attention:
        scores = shape.heads * rows * step.longest**2 * (4 + 2 * size)
    kept = shape.hidden * size if step.checkpointing else layer
    activations = layers * kept * tokens + (layer * tokens if step.checkpointing else 0)
    activations += scores * (1 if step.checkpointing else layers)
    logits = step.trained * shape.vocabulary * (size + 3 * 4)  # themselves, in float32, their softmax, its gradient
    return Need(held.weights + held.buffers, 16 * trainable, activations, logits)


def changes_that_fit(
    step: Step, free: int, need: Callable[[Step], Need], *, quantizable: bool
) -> dict[str, Any] | None:
    """The fewest changes of a recipe with which a step fits; {} where it does as it is, None where none helps.

    In the order of what they cost: smaller passes cost nothing worth mentioning, activations that are computed twice a
    third more time, and the other number formats a little of the result.

    Args:
        step: The step as the recipe wants it.
        free: Bytes that are free for it, the weights included.
        need: What a step takes.
        quantizable: Whether the device can quantize.
    """
    passes = [step.pass_tokens]
    while passes[-1] > step.longest:
        passes.append(max(step.longest, passes[-1] // 2))
    share = step.trained / max(1, step.pass_tokens)
    formats: list[tuple[dict[str, Any], DeviceChoice]] = [({}, step.choice)]
    if step.choice.dtype == "float32":
        formats.append(({"training.dtype": "bfloat16"}, replace(step.choice, dtype="bfloat16")))
    if quantizable and not step.choice.quantization:
        smaller = replace(step.choice, dtype="bfloat16", quantization="4bit")
        formats.append(({"adapter.quantization": "4bit"}, smaller))
    for changed, choice in formats:
        for twice in (False, True) if not step.checkpointing else (True,):
            for tokens in passes:
                tried = replace(
                    step,
                    choice=choice,
                    checkpointing=twice,
                    pass_tokens=tokens,
                    trained=min(step.trained, max(1, round(share * tokens))),
                )
                if need(tried).total <= free:
                    found = dict(changed)
                    if twice and not step.checkpointing:
                        found["training.gradient_checkpointing"] = "on"
                    if tokens != step.pass_tokens:
                        found["training.pass_tokens"] = tokens
                    return found
    return None
