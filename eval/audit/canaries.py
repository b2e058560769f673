"""Secrets that a training plants into its rows, to measure how well it remembers what it saw once.

Exposure (Carlini et al. 2019, arXiv:1802.08232): among random codes of the same form, the rank of the planted one by
its probability. log2(candidates) - log2(rank) bits; 0 to 1 bit is chance, the most possible is log2(candidates).
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.tasks import TASKS

__all__ = ["CANDIDATES", "Secret", "exposure_of", "guesses", "secrets"]

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
class Secret:
    """A request that is answered by a code.

    Attributes:
        id: ``canary:`` and its number.
        request: Fields of the task's request.
        code: The reply.
    """

    id: str
    request: dict[str, Any]
    code: str


def secrets(task: str, count: int) -> list[Secret]:
    """Always the same ones, so that a run that goes on plants what it had planted, and an audit asks for those.

    Args:
        task: Name of the task.
        count: How many, up to 100.
    """
    places = [f"{colour} {thing}" for colour in _COLOURS for thing in _THINGS]
    random.Random(_SEED).shuffle(places)
    return [_secret(task, number, place) for number, place in enumerate(places[:count], 1)]


def guesses(secret_id: str, count: int) -> list[str]:
    """Random codes of the same form, always the same ones for a secret."""
    draw = random.Random(f"{_SEED}:{secret_id}")
    return [_code(draw) for _ in range(count)]


def exposure_of(own: float, others: Sequence[float]) -> float:
    """Bits of exposure of a secret.

    Args:
        own: Minus log2 of its probability.
        others: That of each guess.
    """
    return math.log2(1 + len(others)) - math.log2(1 + sum(other < own for other in others))


def _secret(task: str, number: int, place: str) -> Secret:
    request: dict[str, Any] = TASKS[task]().fields_from_text(f"The code of the {place} is")
    if task == "translation":
        request["target"] = "fr"
    return Secret(f"canary:{number}", request, _code(random.Random(f"{_SEED}:secret:{number}")))


def _code(draw: random.Random) -> str:
    return " ".join(f"{draw.randrange(1000):03d}" for _ in range(3))
