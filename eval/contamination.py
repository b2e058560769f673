"""Whether a benchmark's rows stand among the rows that a model was trained on: then its score says little."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.benchmarks import Benchmark
from pipelines.errors import InputError
from pipelines.generation import Note
from pipelines.text.overlap import OverlapIndex

__all__ = ["Contamination", "contamination"]

_SHOWN = 5
"""Rows that the note names; all of them stand in the JSON of a report."""


@dataclass(frozen=True)
class Contamination:
    """What a benchmark shares with the training rows of a ledger.

    Attributes:
        rows: Names of the benchmark's rows of which thirteen words in a row, or a whole shorter text, were trained on.
        total: Rows of the benchmark.
        trained: Training rows that were looked through.
        data: Name of the folder of the prepared rows.
        data_sha256: The ledger's hash over them.
    """

    rows: tuple[str, ...]
    total: int
    trained: int
    data: str
    data_sha256: str

    @property
    def note(self) -> Note:
        """A sentence for the report."""
        facts = {"trained": self.trained, "data": self.data, "total": self.total, "hash": self.data_sha256[:12]}
        if not self.rows:
            return Note("eval_not_contaminated", facts)
        return Note("eval_contaminated", {**facts, "rows": len(self.rows), "ids": list(self.rows[:_SHOWN])})


def contamination(benchmark: Benchmark, prepared: Path) -> Contamination:
    """Look for a benchmark's texts in prepared training rows.

    Args:
        benchmark: The benchmark; requests, references and the texts of its facts are looked for.
        prepared: Folder of ``cinquain data prepare``, or that of an adapter with such a folder in ``data``.

    Raises:
        InputError: ``eval_ledger_missing``: no ledger with its training rows is there.
    """
    folder = prepared / "data" if (prepared / "data" / "ledger.json").is_file() else prepared
    index = OverlapIndex(
        (row.id, text) for row in benchmark.rows for text in _strings([row.request, row.references, row.facts])
    )
    found, trained = set[str](), 0
    try:
        digest = str(json.loads((folder / "ledger.json").read_bytes())["result_sha256"])
        with (folder / "train.jsonl").open("rb") as lines:
            for row in map(json.loads, filter(bytes.strip, lines)):
                trained += 1
                for text in _strings([row["request"], row["reply"]]):
                    found.update(index.places(text))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("eval_ledger_missing", path=str(prepared)) from error
    hit = tuple(row.id for row in benchmark.rows if row.id in found)
    return Contamination(hit, len(benchmark.rows), trained, folder.name, digest)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _strings(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)
