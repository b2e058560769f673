"""Base against adapter on rows that neither was trained on, pair by pair, with what costs nothing beside them."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics import Metric, for_task, lead, named
from eval.statistics import Comparison, compare, holm
from finetune.data.row import Row
from finetune.judging.answers import Answer
from finetune.judging.copied import longest_copied
from finetune.judging.judgement import Copying, Judgement, MetricResult
from finetune.training.prepared import rows_of
from pipelines.text.languages import detect

__all__ = ["Side", "as_benchmark", "held_out", "judge", "reference_metrics", "training_rows"]

ALPHA = 0.05


@dataclass(frozen=True)
class Side:
    """What one of the two gave on all rows.

    Attributes:
        answers: One for each row.
        bits: Of each row's reference, as this side's model reads it: minus log2 of its probability; empty where that
            was not measured (a remote model gives no probabilities).
    """

    answers: Sequence[Answer]
    bits: Sequence[float] = ()


def held_out(prepared: Path, limit: int) -> tuple[str, list[Row]]:
    """Rows to judge by: of the test part, or of the validation part where there is no other.

    Args:
        prepared: Folder of a prepared data set.
        limit: Take no more than so many: those whose ids have the smallest hashes, whatever their order.

    Returns:
        Name of the part, and the rows; none where the data set has neither.
    """
    for part in ("test", "validation"):
        rows = list(rows_of(prepared / f"{part}.jsonl"))
        if rows:
            chosen = {row.id for row in sorted(rows, key=lambda row: hashlib.sha256(row.id.encode()).digest())[:limit]}
            return part, [row for row in rows if row.id in chosen]
    return "", []


def training_rows(prepared: Path) -> Iterator[Row]:
    """The rows that were trained on."""
    return rows_of(prepared / "train.jsonl")


def as_benchmark(task: str, rows: Sequence[Row]) -> list[BenchmarkRow]:
    """Rows as metrics see them: the reply is the reference, each in its own language."""
    return [BenchmarkRow(row.id, row.request, (row.reply,), _language(task, row)) for row in rows]


def reference_metrics(task: str) -> list[Metric]:
    """The metrics of a task that compare a reply with a reference, the leading one first; none for some tasks."""
    return [metric for metric in map(named, for_task(task)) if metric.needs_references]


def judge(
    task: str,
    part: str,
    rows: Sequence[Row],
    base: Side,
    adapter: Side,
    training: Callable[[], Iterator[Row]],
    *,
    alpha: float = ALPHA,
) -> Judgement:
    """Compare two sides on the same rows.

    Args:
        task: Name of the task.
        part: Where the rows come from.
        rows: The rows, at least one.
        base: What the base gave.
        adapter: What the adapter gave.
        training: Gives the training rows, for the baselines and the search for copies.
        alpha: Level from which a difference counts.
    """
    asked = as_benchmark(task, rows)
    texts = [[answer.text for answer in side.answers] for side in (base, adapter)]
    free = {**_copies(task, asked), "majority": [_majority(training())] * len(rows)}
    found: list[tuple[Metric, Comparison, dict[str, float]]] = []
    for metric in reference_metrics(task):
        one, two = (metric.statistics(side, asked) for side in texts)
        scores = {name: metric.score(replies, asked) for name, replies in free.items()}
        found.append((metric, compare(one, two, metric.of_sum, alpha=alpha), scores))
    if base.bits and adapter.bits:
        bytes_of = np.array([len(row.reply.encode("utf-8", "replace")) for row in rows], float)
        one, two = (np.stack([np.array(side.bits), bytes_of], axis=1) for side in (base, adapter))
        found.append((_BITS_PER_BYTE, compare(one, two, _BITS_PER_BYTE.of_sum, alpha=alpha), {}))
    adjusted = holm([comparison.p_value for _, comparison, _ in found])
    results = [
        MetricResult(metric.name, metric.signature, bool(metric.higher_is_better), comparison, p_value, scores)
        for (metric, comparison, scores), p_value in zip(found, adjusted, strict=True)
    ]
    digest = hashlib.sha256("\n".join(row.to_json() for row in rows).encode("utf-8", "replace"))
    return Judgement(
        task=task,
        rows=len(rows),
        part=part,
        rows_sha256=digest.hexdigest(),
        metrics=results,
        copying=_copying(task, rows, texts, training),
        failed=_counts(base, adapter, "error"),
        cut=_counts(base, adapter, "length"),
    )


def _bits_per_byte(total: np.ndarray) -> float:
    return float(total[0] / total[1])


_BITS_PER_BYTE = Metric(
    "bits_per_byte",
    "bits per byte",
    "bits per byte|of the reference, its end included",
    of_rows=lambda replies, rows: np.zeros((len(replies), 2)),
    of_sum=_bits_per_byte,
    higher_is_better=False,
)
"""Comparable between tokenizers, as perplexity for each token is not."""


def _language(task: str, row: Row) -> str:
    if task == "translation":
        return str(row.request["target"])
    if named := row.request.get("language"):
        return str(named)
    found = detect(row.reply)
    return found[0] if found else "en"


def _copies(task: str, rows: Sequence[BenchmarkRow]) -> dict[str, list[str]]:
    """Replies that cost nothing: the source as it is, or its first sentences."""
    if task == "translation":
        return {"copy": [row.request["text"] for row in rows]}
    if task == "summarization":
        return {"lead": [lead(row.request["text"], 3, row.language) for row in rows]}
    return {}


def _majority(training: Iterator[Row]) -> str:
    common = Counter(row.reply for row in training).most_common(1)
    return common[0][0] if common else ""


def _copying(
    task: str, rows: Sequence[Row], texts: Sequence[Sequence[str]], training: Callable[[], Iterator[Row]]
) -> Copying:
    requests = ["\n".join(list(row.texts(task))[:-1]) for row in rows]
    both = longest_copied([*texts[0], *texts[1]], [*requests, *requests], (row.reply for row in training()))
    base, own = both[: len(rows)], both[len(rows) :]
    longest = max(own, key=lambda span: span.words)
    means = [sum(span.words for span in spans) / len(rows) for spans in (own, base)]
    return Copying(longest.words, longest.text, round(means[0], 2), round(means[1], 2))


def _counts(base: Side, adapter: Side, reason: str) -> tuple[int, int]:
    one, two = (sum(answer.finish_reason == reason for answer in side.answers) for side in (base, adapter))
    return one, two
