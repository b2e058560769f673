"""Secrets planted into training rows, and how far they stand out afterwards; see ``eval.audit.canaries``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from eval.audit.canaries import CANDIDATES, exposure_of, guesses, secrets
from finetune.data.rendering import Rendered, Renderer
from finetune.data.row import Row

__all__ = ["CANDIDATES", "Exposure", "canaries", "exposed", "exposure"]


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
    return [Row(each.id, each.request, each.code, each.id, "canary") for each in secrets(task, count)]


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
        codes = [row.reply, *guesses(row.id, candidates - 1)]
        own, *others = bits_of([renderer.render(replace(row, reply=code)) for code in codes])
        found.append(exposure_of(own, others))
    return found


def exposed(base: Sequence[float], adapter: Sequence[float], candidates: int = CANDIDATES) -> Exposure:
    """What ``exposure`` gave for base and adapter, together."""
    return Exposure(len(base), candidates, _mean(base), _mean(adapter), round(max(adapter), 2))


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 2)
