"""Benchmarks and finished runs for tests of scores and reports: rows that differ, replies that are better or worse."""

import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.benchmarks import Benchmark, BenchmarkRow
from eval.records import Record, RecordFile, Run, begin_run, load_run

__all__ = ["degraded", "finished_run", "sentences", "translation"]

_WORDS = (
    *("river", "stone", "garden", "winter", "letter", "window", "morning", "bread", "silver", "market", "road", "bird"),
    *("reads", "finds", "keeps", "opens", "follows", "paints", "the", "a", "old", "quiet", "under", "beside", "and"),
)


def sentences(count: int, seed: int = 0) -> list[str]:
    """Sentences of a dozen words, no two alike."""
    generator = random.Random(seed)
    return [f"{' '.join(generator.choices(_WORDS, k=11))} {number}." for number in range(count)]


def degraded(texts: Sequence[str], share: float, seed: int = 1) -> list[str]:
    """The texts with about this share of their words replaced by one that fits nowhere."""
    generator = random.Random(seed)
    return [" ".join("xqz" if generator.random() < share else word for word in text.split()) for text in texts]


def translation(
    count: int = 24, metrics: tuple[str, ...] = ("chrf", "bleu", "wrong_language"), **extra: Any
) -> Benchmark:
    """A benchmark of rows of two kinds, whose source is far from their reference."""
    rows = tuple(
        BenchmarkRow(
            id=f"row-{number}",
            request={"text": f"QUELLE {number} ÄÖÜ", "source": "de", "target": "en"},
            references=(text,),
            language="en",
            kind="short" if number % 2 else "long",
        )
        for number, text in enumerate(sentences(count))
    )
    given = {"name": "planted", "version": 1, "task": "translation", "licence": "CC0-1.0", **extra}
    return Benchmark(rows=rows, metrics=metrics, **given)


def finished_run(
    benchmark: Benchmark, replies: Sequence[str], folder: Path, model: str = "models/one", **changes: Any
) -> Run:
    """A run that gave these replies, as it lies on the disk.

    Args:
        benchmark: What was asked.
        replies: One for each row, or fewer for a run that was stopped.
        folder: Where to put it; made here.
        model: What is said to have answered.
        changes: Fields of all records.
    """
    folder.mkdir(parents=True)
    begin_run(
        folder,
        {
            "benchmark": benchmark.name,
            "version": benchmark.version,
            "benchmark_sha256": benchmark.sha256,
            "task": benchmark.task,
            "identity": {"weights_sha256": "ab" * 32, "prompt_sha256": "cd" * 32},
            "provenance": {
                "engine": {"engine": "local", "model": model, "dtype": "float32", "device": "cpu"},
                "environment": {"python": "3.11", "processor": "a processor"},
                "date": "2026-01-02",
                "command": f"cinquain eval run --benchmark {benchmark.name} --model {model}",
            },
            "row_ids": [row.id for row in benchmark.rows],
        },
    )
    lines: list[dict[str, Any]] = [
        {"kind": "row", **asdict(Record(row.id, reply, seconds=0.5 + place / 10)), **changes}
        for place, (row, reply) in enumerate(zip(benchmark.rows, replies, strict=False))
    ]
    RecordFile(folder / "records.jsonl").append(lines)
    return load_run(folder)
