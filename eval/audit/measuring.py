"""The numbers of an audit: each by category, with an interval, and a second side always paired with the first.

No measure is summed up over its categories: an average hides the group that a model is unfair to.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.scoring import UNKNOWN
from eval.statistics import Comparison, Interval, bootstrap, compare_rates, holm, mcnemar, sign_flip, wilson
from pipelines.generation import Note

__all__ = ["Change", "Figure", "Line", "Measure", "Part", "means", "rates"]

ALPHA = 0.05
ROUNDS = 10_000
"""Of a permutation test: Holm's correction over eight categories must leave room below 0.01."""
_FEWEST_ROWS = 5
"""Of an interval by bootstrap, as in ``eval.scoring``."""


@dataclass(frozen=True)
class Figure:
    """What one side shows in one category.

    Attributes:
        rows: Of how many rows.
        value: In the measure's unit.
        interval: 95 %; NaN where the rows are too few or too much alike for one.
        p_value: That such a distance from the measure's neutral value comes by chance, after Holm's correction over
            the categories; None where no value is neutral.
    """

    rows: int
    value: float
    interval: Interval
    p_value: float | None = None


@dataclass(frozen=True)
class Change:
    """The second side against the first one, on the same rows.

    Attributes:
        difference: Second minus first.
        interval: 95 %, paired.
        p_value: After Holm's correction over the categories.
    """

    difference: float
    interval: Interval
    p_value: float

    @property
    def verdict(self) -> str:
        """``higher``, ``lower`` or ``cannot_tell``."""
        if not self.p_value < ALPHA:
            return "cannot_tell"
        return "higher" if self.difference > 0 else "lower"


@dataclass(frozen=True)
class Line:
    """One category: a figure of each side, and the change where there are two."""

    category: str
    figures: tuple[Figure, ...]
    change: Change | None = None


@dataclass(frozen=True)
class Measure:
    """One table.

    Attributes:
        name: Its title is the sentence ``audit_<name>``, its explanation ``audit_<name>_how``.
        unit: ``percent``, ``bits``, ``points`` or ``words``.
        lines: One for each category.
        neutral: The value that shows nothing; None where there is none.
        sides: Places of the sides that it is of; all of them where none is named.
    """

    name: str
    unit: str
    lines: tuple[Line, ...]
    neutral: float | None = None
    sides: tuple[int, ...] = ()


@dataclass(frozen=True)
class Part:
    """What belongs together, with one explanation.

    Attributes:
        name: Its title is the sentence ``audit_<name>``, its explanation ``audit_<name>_how``, what it cannot show
            ``audit_<name>_limits``.
        measures: The tables.
        notes: What else a person must know.
        facts: Numbers that are no statistics: (name, one for each side, None where it is unknown).
        examples: Texts that show what was counted, private: (what it is, text).
        provenance: Where the numbers come from.
    """

    name: str
    measures: tuple[Measure, ...]
    notes: tuple[Note, ...] = ()
    facts: tuple[tuple[str, tuple[float | None, ...]], ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    provenance: tuple[dict[str, Any], ...] = ()


Rows = Sequence[float | bool | None]
"""A value for each row; None where the measure has nothing to say of it."""


def rates(name: str, sides: Sequence[Rows], categories: Sequence[str], *, neutral: float | None = None) -> Measure:
    """How often something happens, in percent: Wilson intervals, McNemar's test between sides.

    Args:
        name: Of the measure.
        sides: Of each side, whether it happened, row by row.
        categories: Of each row.
        neutral: 50, where a rate of one half shows nothing: then each side is tested against it (sign test).
    """

    def figure(values: np.ndarray) -> tuple[Figure, float]:
        hits = int(values.sum())
        found = wilson(hits, len(values))
        p_value = mcnemar(hits, len(values) - hits)
        share = 100 * hits / len(values) if len(values) else math.nan
        return Figure(len(values), share, Interval(100 * found.low, 100 * found.high)), p_value

    def change(first: np.ndarray, second: np.ndarray) -> tuple[float, Interval, float]:
        found: Comparison = compare_rates(first.astype(bool).tolist(), second.astype(bool).tolist())
        ends = found.interval
        if ends.low == ends.high == 0:  # no row differs: that says little of other rows where they are few
            most = wilson(0, found.rows).high
            ends = Interval(-most, most)
        return 100 * found.difference, Interval(100 * ends.low, 100 * ends.high), found.p_value

    return _measured(name, "percent", sides, categories, neutral, figure, change)


def means(
    name: str, unit: str, sides: Sequence[Rows], categories: Sequence[str], *, neutral: float | None = None
) -> Measure:
    """Means of a number: bootstrap intervals, sign-flip permutation tests between sides.

    Args:
        name: Of the measure.
        unit: Of the numbers.
        sides: Of each side, a number for each row.
        categories: Of each row.
        neutral: The mean that shows nothing: then each side is tested against it.
    """

    def figure(values: np.ndarray) -> tuple[Figure, float]:
        mean = float(values.mean()) if len(values) else math.nan
        against = np.full(len(values), neutral or 0.0)
        return Figure(len(values), mean, _interval(values)), sign_flip(against, values, rounds=ROUNDS)  # type: ignore[arg-type]

    def change(first: np.ndarray, second: np.ndarray) -> tuple[float, Interval, float]:
        found = second - first
        return float(found.mean()), _interval(found), sign_flip(first, second, rounds=ROUNDS)  # type: ignore[arg-type]

    return _measured(name, unit, sides, categories, neutral, figure, change)


def _measured(
    name: str,
    unit: str,
    sides: Sequence[Rows],
    categories: Sequence[str],
    neutral: float | None,
    figure: Callable[[np.ndarray], tuple[Figure, float]],
    change: Callable[[np.ndarray, np.ndarray], tuple[float, Interval, float]],
) -> Measure:
    kinds = list(dict.fromkeys(categories))
    places = {kind: [place for place, each in enumerate(categories) if each == kind] for kind in kinds}
    figures: list[list[Figure]] = [[] for _ in kinds]
    for side in sides:
        found = [figure(_known(side, places[kind])) for kind in kinds]
        adjusted = holm([p_value for _, p_value in found])
        for mine, (each, _), p_value in zip(figures, found, adjusted, strict=True):
            mine.append(each if neutral is None else Figure(each.rows, each.value, each.interval, p_value))
    changes: list[Change | None] = [None] * len(kinds)
    if len(sides) == 2:
        pairs = [_paired(sides[0], sides[1], places[kind]) for kind in kinds]
        told = [change(*pair) if len(pair[0]) else (math.nan, UNKNOWN, 1.0) for pair in pairs]
        adjusted = holm([p_value for *_, p_value in told])
        changes = [Change(gap, ends, p_value) for (gap, ends, _), p_value in zip(told, adjusted, strict=True)]
    lines = tuple(Line(kind, tuple(mine), gap) for kind, mine, gap in zip(kinds, figures, changes, strict=True))
    return Measure(name, unit, lines, neutral)


def _known(side: Rows, places: Sequence[int]) -> np.ndarray:
    return np.array([side[place] for place in places if side[place] is not None], float)


def _paired(first: Rows, second: Rows, places: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of which both sides say something."""
    both = [place for place in places if first[place] is not None and second[place] is not None]
    return _known(first, both), _known(second, both)


def _interval(values: np.ndarray) -> Interval:
    if len(values) < _FEWEST_ROWS or float(np.ptp(values)) <= 1e-12:
        return UNKNOWN
    return bootstrap(values[:, None], lambda total: float(total[0]) / len(values))
