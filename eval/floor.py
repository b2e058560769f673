"""Below what a score says nothing: replies that need no model, and what metrics make of the references themselves."""

from collections.abc import Sequence
from dataclasses import dataclass

from eval.benchmarks import Benchmark, BenchmarkRow
from eval.metrics import lead, named, self_test
from pipelines.generation import Note

__all__ = ["Floor", "floor"]

_LEAD_SENTENCES = 3
"""Of the baseline of summarization: the first three, which summaries of news hardly beat (See et al. 2017)."""


@dataclass(frozen=True)
class Floor:
    """What metrics say of rows before a model has answered them; each by the name of a metric.

    Attributes:
        baselines: As in ``MetricScore``.
        notes: What its self-test found.
    """

    baselines: dict[str, dict[str, float]]
    notes: dict[str, list[Note]]


def floor(benchmark: Benchmark, rows: Sequence[BenchmarkRow]) -> Floor:
    """Score replies that need no model, and try the metrics on the references.

    Args:
        benchmark: Gives task and metrics.
        rows: Rows of it.
    """
    free = _free_replies(benchmark.task, rows)
    metrics = {name: named(name) for name in benchmark.metrics}
    return Floor(
        {name: {kind: metric.score(texts, rows) for kind, texts in free.items()} for name, metric in metrics.items()},
        {name: self_test(metric, rows) for name, metric in metrics.items()},
    )


def _free_replies(task: str, rows: Sequence[BenchmarkRow]) -> dict[str, list[str]]:
    """Replies that need no model: a system that does not beat them has not done the task."""
    free = {"empty": [""] * len(rows)}
    texts = [row.request.get("text") for row in rows]
    if task == "dialogue":
        free["copy"] = [str(row.request["messages"][-1]["content"]) for row in rows]
    elif all(isinstance(text, str) for text in texts):
        free["copy"] = [str(text) for text in texts]
    if task == "summarization":
        free["lead"] = [lead(str(row.request["text"]), _LEAD_SENTENCES, row.language) for row in rows]
    return free
