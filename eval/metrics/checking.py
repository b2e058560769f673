"""What must hold before a metric is trusted on a benchmark: references score the best, empty and constant replies not.

A metric that gives the right answer 0 (a reference with a blank before it, a text in a script that a tokenizer does not
know) gives no error but a number, and every system looks the same.
"""

import math
from collections import Counter
from collections.abc import Sequence

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics.base import Metric
from pipelines.generation import Note

__all__ = ["self_test"]

_TOLERANCE = 0.01
"""Points; BLEU of a reference with itself is 100.00000000000004."""
_LEEWAY = 0.25
"""Of the way to the best score: TER of empty replies is under 100 where a row has a short reference and a long one."""
_SHOWN = 3
"""Rows that a note names."""
_PLAIN = "I am afraid that I cannot help you with this."
"""The constant reply where no row has a reference; long enough for every metric to have something to look at."""


def self_test(metric: Metric, rows: Sequence[BenchmarkRow]) -> list[Note]:
    """What is wrong with a metric on these rows; nothing where it can be trusted.

    Returns:
        Notes ``metric_silent`` or what the metric has for it (no row has what it looks at), ``metric_gold``
        (references do not score the best), ``metric_empty`` (empty replies do not score the worst),
        ``metric_constant`` (one reply to all rows comes more than half the way from empty replies to references).

    Raises:
        InputError: As for ``Metric.statistics``.
    """
    if math.isnan(metric.score([_PLAIN] * len(rows), rows)):
        return [Note(metric.silent, {"metric": metric.name})]
    answered = [row for row in rows if row.references]
    gold = [row.references[0] for row in answered]
    notes = []
    best = metric.score(gold, answered) if gold else metric.best
    if best is not None and _differs(best, metric.best):
        alone = map(metric.of_sum, metric.statistics(gold, answered))
        wrong = [row.id for row, score in zip(answered, alone, strict=True) if _differs(score, metric.best)]
        found = {"score": round(best, 2), "best": metric.best, "count": len(wrong), "rows": wrong[:_SHOWN]}
        notes.append(Note("metric_gold", {"metric": metric.name, **found}))
    if metric.worst is None:
        return notes
    empty = metric.score([""] * len(rows), rows)
    if metric.best is not None and abs(empty - metric.worst) > _LEEWAY * abs(metric.best - metric.worst):
        notes.append(Note("metric_empty", {"metric": metric.name, "score": round(empty, 2), "worst": metric.worst}))
    # A rate is of the reply alone (it parses, it is there): one that is right is right for every row.
    if best is None or best == empty or metric.is_rate or len(rows) == 1:
        return notes
    common = Counter(gold).most_common(1)[0][0] if gold else _PLAIN
    constant = metric.score([common] * len(rows), rows)
    if (constant - empty) / (best - empty) > 0.5:
        scores = {"score": round(constant, 2), "best": round(best, 2)}
        notes.append(Note("metric_constant", {"metric": metric.name, "reply": common[:40], **scores}))
    return notes


def _differs(score: float, wanted: float | None) -> bool:
    return wanted is not None and abs(score - wanted) > _TOLERANCE
