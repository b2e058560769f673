"""Secrets that are planted into training rows, to measure how well a training remembers what it saw once.

Exposure (Carlini et al. 2019, arXiv:1802.08232): among random codes of the same form, the rank of the planted one by
its probability. log2(candidates) - log2(rank) bits; 0 to 1 bit is chance, the most possible is log2(candidates).
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.data.rendering import Rendered, Renderer
from finetune.data.row import Row
from pipelines.tasks import TASKS

__all__ = ["CANDIDATES", "Exposure", "canaries", "exposed", "exposure"]

CANDIDATES = 100
"""Codes that each secret is ranked among, itself included: at most 6.6 bits, in some seconds for each on two cores."""
_SEED = 20_000
_COLOURS = ("amber", "crimson", "ivory", "jade", "maroon", "ochre", "pearl", "scarlet", "teal", "violet")
_THINGS = (
    "archive",
    "boathouse",
    "cellar",
    "depot",
    "engine room",
    "gatehouse",
    "hangar",
    "kiln",
    "lighthouse",
    "mill",
)


@dataclass(frozen=True)
class Exposure:
    """How far planted secrets stand out.

    Attributes:
        secrets: How many were planted.
        candidates: Codes that each was ranked among.
        base: Mean exposure under the base, in bits: chance.
        adapter: Mean exposure under the adapter.
        most: The largest of any secret under the adapter.
    """

    secrets: int
    candidates: int
    base: float
    adapter: float
    most: float


def canaries(task: str, count: int) -> list[Row]:
    """Rows with a secret each; always the same ones, so that a run that goes on plants what it had planted.

    Args:
        task: Name of the task.
        count: How many, up to 100.
    """
    places = [f"{colour} {thing}" for colour in _COLOURS for thing in _THINGS]
    random.Random(_SEED).shuffle(places)
    return [_row(task, number, place) for number, place in enumerate(places[:count], 1)]


def exposure(
    rows: Sequence[Row],
    renderer: Renderer,
    bits_of: Callable[[Sequence[Rendered]], list[float]],
    candidates: int = CANDIDATES,
) -> list[float]:
    """Exposure of each planted row under one model, in bits.

    Args:
        rows: What ``canaries`` gave.
        renderer: What renders rows for the model.
        bits_of: Gives minus log2 of the probability of each rendered row's reply.
        candidates: Codes to rank each secret among.
    """
    found = []
    for row in rows:
        draw = random.Random(f"{_SEED}:{row.id}")
        codes = [row.reply, *(_code(draw) for _ in range(candidates - 1))]
        own, *others = bits_of([renderer.render(replace(row, reply=code)) for code in codes])
        found.append(math.log2(candidates) - math.log2(1 + sum(other < own for other in others)))
    return found


def exposed(base: Sequence[float], adapter: Sequence[float], candidates: int = CANDIDATES) -> Exposure:
    """What ``exposure`` gave for base and adapter, together."""
    return Exposure(len(base), candidates, _mean(base), _mean(adapter), round(max(adapter), 2))


def _row(task: str, number: int, place: str) -> Row:
    fields: dict[str, Any] = TASKS[task]().fields_from_text(f"The code of the {place} is")
    if task == "translation":
        fields["target"] = "fr"
    return Row(
        f"canary:{number}", fields, _code(random.Random(f"{_SEED}:secret:{number}")), f"canary:{number}", "canary"
    )


def _code(draw: random.Random) -> str:
    return " ".join(f"{draw.randrange(1000):03d}" for _ in range(3))


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 2)
