"""What every metric is: statistics of each row, and the score of their sum."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eval.benchmarks.definition import BenchmarkRow
from pipelines.errors import InputError

__all__ = ["Metric", "check_rows", "fault_rate", "mean", "percent", "row_by_row"]

Rows = Sequence[BenchmarkRow]
OfRow = Callable[[str, BenchmarkRow], tuple[float, float]]
"""From a reply and its row to two statistics."""


@dataclass(frozen=True)
class Metric:
    """A metric of replies to the rows of a benchmark.

    Attributes:
        key: What ``eval.metrics.named`` and benchmarks call it.
        name: As reports show it.
        signature: Everything that changes a score: version, tokenizer, orders.
        of_rows: From (replies, rows), one of each, to their statistics: float, shape (rows, k).
        of_sum: From the sum of such rows, shape (k,), to the score of the corpus; NaN where no row among them has what
            the metric looks at.
        higher_is_better: Whether a better system scores higher; None for what only describes, as the length does.
        is_rate: Whether it counts rows: its statistics are [hit, 1], or [0, 0] for a row that it says nothing of.
        best: Score of the reference replies; None where references need not have the best score there is.
        worst: Score of empty replies; None where silence is no fault in the eyes of this metric.
        needs_references: Whether each row must have a reference.
        silent: Code of the note where it says nothing of any row.
    """

    key: str
    name: str
    signature: str
    of_rows: Callable[[Sequence[str], Rows], np.ndarray]
    of_sum: Callable[[np.ndarray], float]
    higher_is_better: bool | None = True
    is_rate: bool = False
    best: float | None = None
    worst: float | None = None
    needs_references: bool = False
    silent: str = "metric_silent"

    def statistics(self, replies: Sequence[str], rows: Rows) -> np.ndarray:
        """Statistics of each row, shape (rows, k), for ``eval.statistics``.

        Raises:
            InputError: ``metric_rows``, ``metric_row``, ``metric_reference_empty`` or ``metric_reference_missing``:
                every row is looked at. Metrics that need a fact of the rows name the row that gives another kind.
        """
        check_rows(replies, rows, references=self.needs_references)
        return self.of_rows(replies, rows)

    def score(self, replies: Sequence[str], rows: Rows) -> float:
        """Score of the corpus.

        Raises:
            InputError: As for ``statistics``.
        """
        return self.of_sum(self.statistics(replies, rows).sum(axis=0))


def check_rows(replies: Sequence[str], rows: Rows, *, references: bool = False) -> None:
    """See that there is one reply to each row, and that every text is one.

    ``evaluate`` looks at the first row only and takes a list for its letters later on; sacrebleu pairs lists of
    different lengths as far as the shorter one goes. Both give a score.

    Args:
        replies: The replies.
        rows: The rows.
        references: Whether each row must have a reference.

    Raises:
        InputError: ``metric_rows`` for different numbers of them or none, ``metric_row`` for one that is no text,
            ``metric_reference_empty`` for a reference that no reply can match, ``metric_reference_missing``.
    """
    if isinstance(replies, str) or len(replies) != len(rows) or not len(rows):
        raise InputError("metric_rows", replies=1 if isinstance(replies, str) else len(replies), rows=len(rows))
    for number, (reply, row) in enumerate(zip(replies, rows, strict=True), 1):
        _check_text(reply, number, "reply")
        if isinstance(row.references, str):  # it would be taken for its letters
            raise InputError("metric_row", row=number, kind="references", found="str")
        for reference in row.references:
            _check_text(reference, number, "reference")
            if not reference.strip():
                raise InputError("metric_reference_empty", row=number)
        if references and not row.references:
            raise InputError("metric_reference_missing", row=number)


def row_by_row(of_row: OfRow) -> Callable[[Sequence[str], Rows], np.ndarray]:
    """What ``Metric.of_rows`` is where a row's statistics hang on no other row: float, shape (rows, 2)."""

    def of_rows(replies: Sequence[str], rows: Rows) -> np.ndarray:
        return np.array([of_row(reply, row) for reply, row in zip(replies, rows, strict=True)], float)

    return of_rows


def fault_rate(key: str, name: str, signature: str, fault: Callable[[str, BenchmarkRow], bool]) -> Metric:
    """A metric that counts the replies with a fault, in percent; lower is better.

    Args:
        key: See ``Metric``.
        name: See ``Metric``.
        signature: What decides that a reply has it.
        fault: Whether it has.
    """
    of_rows = row_by_row(lambda reply, row: (fault(reply, row), 1))
    return Metric(key, name, f"{name}|{signature}", of_rows, percent, higher_is_better=False, is_rate=True, best=0.0)


def mean(total: np.ndarray) -> float:
    """A sum of [value, 1] as a mean; NaN for no row."""
    return float(total[0] / total[1]) if total[1] else math.nan


def percent(total: np.ndarray) -> float:
    """A sum of [part, whole] in percent; NaN where there is no whole."""
    return 100 * mean(total)


def _check_text(text: object, number: int, kind: str) -> None:
    if not isinstance(text, str):
        raise InputError("metric_row", row=number, kind=kind, found=type(text).__name__)
