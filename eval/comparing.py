"""Is it better? Runs on the same rows, row by row: each metric with its verdict, and the rows where the two differ."""

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from eval.benchmarks import Benchmark, BenchmarkRow
from eval.metrics import Metric, named
from eval.records import Run
from eval.scoring import UNKNOWN, answered, plain, row_scores, unit
from eval.statistics import Comparison, Interval, compare_rates, holm, smallest_gap, wilson
from eval.statistics import compare as compare_sums
from pipelines.errors import InputError
from pipelines.generation import Note

__all__ = ["MetricComparison", "Piece", "RowChange", "RunComparison", "compare", "signed", "word_diff"]

_DIFFED_WORDS = 1000
"""Of each of two texts: the time for a diff grows with the square of it, and half a second is enough for one row."""
_WORDS = re.compile(r"\s+|[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|\w+|[^\w\s]")
"""Words, blanks and signs; Chinese and Japanese by the character."""


@dataclass(frozen=True)
class MetricComparison:
    """One metric of two runs.

    Attributes:
        name: As reports show it.
        signature: Everything that changes a score.
        higher_is_better: Whether a better system scores higher; None where the metric only describes.
        comparison: Paired, on the metric's own scale.
        adjusted_p_value: After Holm's correction for everything that was compared together.
        gap: The smallest difference that these rows would show four times in five, as widely as they scatter, at the
            strictest level of the correction; NaN where they show none.
    """

    name: str
    signature: str
    higher_is_better: bool | None
    comparison: Comparison
    adjusted_p_value: float
    gap: float

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``cannot_tell``, of the second run; ``higher`` or ``lower`` of what is neither."""
        found = self.comparison.verdict
        if found == "cannot_tell" or self.adjusted_p_value >= self.comparison.alpha:
            return "cannot_tell"
        if self.higher_is_better is None:
            return found
        return "better" if (found == "higher") == self.higher_is_better else "worse"

    @property
    def note(self) -> Note:
        """The verdict as a sentence."""
        found = self.comparison
        if not found.rows:
            return Note("eval_compared_silent", {"metric": self.name})
        parameters: dict[str, Any] = {
            "metric": self.name,
            "rows": found.rows,
            "first": f"{found.first:.2f}",
            "second": f"{found.second:.2f}",
            "low": signed(found.interval.low),
            "high": signed(found.interval.high),
            "p_value": f"{self.adjusted_p_value:.2g}",
        }
        if self.verdict != "cannot_tell":
            return Note(f"eval_compared_{self.verdict}", parameters)
        if found.rows_needed is None or found.rows_needed <= found.rows:
            return Note("eval_compared_cannot_tell", parameters)
        return Note("eval_compared_too_few", {**parameters, "needed": found.rows_needed})


@dataclass(frozen=True)
class RowChange:
    """A row that the two runs score differently by the leading metric.

    Attributes:
        row_id: Of the row.
        kind: Of the row.
        first_score: Of the first run, on the metric's scale.
        second_score: Of the second one.
        change: How much better the second one is; below zero where it is worse.
        first_reply: What the first run replied.
        second_reply: What the second one did.
    """

    row_id: str
    kind: str
    first_score: float
    second_score: float
    change: float
    first_reply: str
    second_reply: str


@dataclass(frozen=True)
class RunComparison:
    """A second run against a first one.

    Attributes:
        first: The first run.
        second: The second run.
        metrics: The leading one first.
        changes: Rows with another score, the largest change first; of a rate these are the verdicts that flipped.
    """

    first: Run
    second: Run
    metrics: tuple[MetricComparison, ...]
    changes: tuple[RowChange, ...]

    @property
    def better(self) -> int:
        """Rows that the second run has better."""
        return sum(row.change > 0 for row in self.changes)

    @property
    def worse(self) -> int:
        """Rows that the second run has worse."""
        return len(self.changes) - self.better

    def to_json(self, *, texts: bool = True) -> dict[str, Any]:
        """Plain JSON data; without ``texts`` it holds nothing that a model said."""
        metrics = [
            {
                **asdict(metric),
                "verdict": metric.verdict,
                "difference": metric.comparison.difference,
            }
            for metric in self.metrics
        ]
        changes = [asdict(row) for row in self.changes]
        for row in changes if not texts else ():
            del row["first_reply"], row["second_reply"]
        folders = {"first": str(self.first.folder), "second": str(self.second.folder)}
        data: dict[str, Any] = plain({**folders, "metrics": metrics, "changes": changes})
        return data


@dataclass(frozen=True)
class Piece:
    """A part of a text.

    Attributes:
        text: The part.
        changed: Whether the other text lacks it.
    """

    text: str
    changed: bool


def compare(
    runs: Sequence[Run], benchmark: Benchmark, *, alpha: float = 0.05, seed: int = 0
) -> tuple[RunComparison, ...]:
    """Compare runs, on the rows that all of them answered, row by row: each with the first one.

    Holm's correction is for all p-values of the call: every further run and metric is another chance to find something
    that is not there.

    Args:
        runs: At least two.
        benchmark: What all of them ran.
        alpha: Level from which a difference counts.
        seed: Of the resamplings.

    Raises:
        InputError: ``eval_compare_one`` for fewer than two runs, ``eval_compare_apart`` for runs of different rows or
            metrics; as for ``eval.scoring.answered``.
    """
    if len(runs) < 2:
        raise InputError("eval_compare_one")
    for other in runs[1:]:
        if other.benchmark_sha256 != runs[0].benchmark_sha256:
            names = [f"{run.benchmark}@{run.version} ({run.benchmark_sha256[:12]})" for run in (runs[0], other)]
            raise InputError("eval_compare_apart", first=names[0], second=names[1], folder=str(other.folder))
    rows = answered(runs, benchmark)
    metrics = [named(name) for name in benchmark.metrics]
    by_id = [{record.row_id: record.reply for record in run.records} for run in runs]
    replies = [[known[row.id] for row in rows] for known in by_id]
    statistics = [[metric.statistics(texts, rows) for metric in metrics] for texts in replies]
    found = [
        [
            _compared(metric, one, two, alpha, seed)
            for metric, one, two in zip(metrics, statistics[0], theirs, strict=True)
        ]
        for theirs in statistics[1:]
    ]
    p_values = [comparison.p_value for each in found for comparison in each]
    adjusted, tests = iter(holm(p_values)), len(p_values)
    results = []
    for run, texts, theirs, comparisons in zip(runs[1:], replies[1:], statistics[1:], found, strict=True):
        judged = tuple(
            MetricComparison(
                metric.name,
                metric.signature,
                metric.higher_is_better,
                comparison,
                next(adjusted),
                _gap(metric, comparison, one, two, tests),
            )
            for metric, comparison, one, two in zip(metrics, comparisons, statistics[0], theirs, strict=True)
        )
        alone = [row_scores(metrics[0], each) for each in (statistics[0][0], theirs[0])]
        changes = _changes(rows, metrics[0].higher_is_better, alone, (replies[0], texts))
        results.append(RunComparison(runs[0], run, judged, changes))
    return tuple(results)


def word_diff(first: str, second: str) -> tuple[list[Piece], list[Piece]]:
    """Two texts in pieces, those that the other one lacks marked; whole and unmarked where they are very long."""
    one, two = _WORDS.findall(first), _WORDS.findall(second)
    if max(len(one), len(two)) > _DIFFED_WORDS:
        return [Piece(first, False)], [Piece(second, False)]
    left: list[Piece] = []
    right: list[Piece] = []
    for kind, *places in difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        for pieces, words in ((left, one[places[0] : places[1]]), (right, two[places[2] : places[3]])):
            if words:
                pieces.append(Piece("".join(words), kind != "equal"))
    return left, right


def _compared(metric: Metric, first: np.ndarray, second: np.ndarray, alpha: float, seed: int) -> Comparison:
    spoken_of = first.any(axis=1) & second.any(axis=1)  # a metric may leave out rows that have nothing it looks at
    first, second = first[spoken_of], second[spoken_of]
    if not len(first):
        return Comparison(0, math.nan, math.nan, UNKNOWN, 1.0, alpha, None)
    if not metric.is_rate:
        found = compare_sums(first, second, metric.of_sum, alpha=alpha, seed=seed)
        # Replies alike on all rows: that says nothing of other rows, and resampling cannot show it.
        alike = max(abs(found.interval.low), abs(found.interval.high)) <= 1e-9
        return replace(found, interval=UNKNOWN) if alike else found
    scale = unit(metric)
    hits = [(side[:, 0] > 0).tolist() for side in (first, second)]
    found = compare_rates(*hits, alpha=alpha, seed=seed)
    ends = found.interval
    if ends.low == ends.high == 0:  # no row differs: that so few rows say nothing of others, no resampling can show
        most = wilson(0, found.rows, 1 - alpha).high
        ends = Interval(-most, most)
    interval = Interval(scale * ends.low, scale * ends.high)
    return replace(found, first=scale * found.first, second=scale * found.second, interval=interval)


def signed(value: float) -> str:
    """A difference as reports show it."""
    return f"{value:+.2f}" if math.isfinite(value) else "–"


def _gap(metric: Metric, found: Comparison, first: np.ndarray, second: np.ndarray, tests: int) -> float:
    """The smallest difference that a test would find four times in five, at the strictest level of Holm's correction.

    Of a rate from the share of rows that differ, a fifth where none do; of the rest from the width of the interval.
    """
    alpha = found.alpha / tests
    if metric.is_rate:
        spoken_of = first.any(axis=1) & second.any(axis=1)
        differing = float(np.mean(first[spoken_of, 0] != second[spoken_of, 0])) if spoken_of.any() else 0.0
        gap = smallest_gap(found.rows, differing or 0.2, alpha=alpha)
        return unit(metric) * gap if gap else math.nan
    normal = NormalDist()
    deviation = (found.interval.high - found.interval.low) / 2 / normal.inv_cdf(1 - found.alpha / 2)
    return deviation * (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(0.8))


def _changes(
    rows: Sequence[BenchmarkRow],
    higher_is_better: bool | None,
    scores: Sequence[np.ndarray],
    replies: Sequence[Sequence[str]],
) -> tuple[RowChange, ...]:
    sign = -1 if higher_is_better is False else 1
    found = [
        RowChange(row.id, row.kind, float(one), float(two), sign * float(two - one), before, after)
        for row, one, two, before, after in zip(rows, *scores, *replies, strict=True)
        if one != two and not (math.isnan(one) or math.isnan(two))
    ]
    return tuple(sorted(found, key=lambda row: (-abs(row.change), row.row_id)))
