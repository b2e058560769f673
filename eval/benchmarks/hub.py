"""Benchmarks on the Hub: read once, at a commit that stays, and kept, so that later runs ask the same offline."""

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from eval.benchmarks.schema import BenchmarkFile
from eval.benchmarks.sources import Numbered
from pipelines.errors import InputError
from pipelines.home import home, write_atomically
from pipelines.models.dataset import dataset_commit, dataset_rows

__all__ = ["kept_records", "streamed_records"]

SCHEMA_VERSION = 1

_DECIDES = {
    "rows", "subset", "split", "beside", "columns", "values", "where", "longest", "limit", "group", "held_out",
    "derived",
}  # fmt: skip
"""Keys of a definition that decide which records are taken."""


def kept_records(
    definition: BenchmarkFile, choose: Callable[[Iterator[Numbered]], list[Numbered]]
) -> tuple[list[Numbered], str]:
    """The chosen records of a benchmark, and the commit that they are from.

    A definition without a revision is pinned to the commit of its first use. The chosen records are kept in
    ``$CINQUAIN_HOME/benchmarks``; delete the file there to take a newer commit.

    Args:
        definition: One whose rows are on the Hub.
        choose: Takes the records that the benchmark wants out of all.

    Raises:
        InputError: The data set is not there, is a program, or cannot be read.
        CinquainError: The Hub cannot be asked, or did not answer.
    """
    path = home() / "benchmarks" / f"{definition.name}.json"
    name, _, revision = definition.rows.removeprefix("hub:").partition("@")
    asked = json.dumps(definition.model_dump(mode="json", include=_DECIDES), sort_keys=True)
    digest = hashlib.sha256(asked.encode()).hexdigest()
    kept = _kept(path)
    if kept.get("asked") == digest:
        return [(str(place), record) for place, record in kept["records"]], str(kept["commit"])
    pinned = revision or (kept.get("commit") if kept.get("dataset") == name else None)
    commit = dataset_commit(name, pinned)
    records = choose(streamed_records(definition, name, commit))
    account = {
        "schema_version": SCHEMA_VERSION,
        "dataset": name,
        "commit": commit,
        "asked": digest,
        "records": records,
    }
    write_atomically(path, json.dumps(account, ensure_ascii=False, default=str))
    return records, commit


def streamed_records(definition: BenchmarkFile, name: str, commit: str | None) -> Iterator[Numbered]:
    """All records of a data set; those of ``beside`` go with them, row by row.

    Raises:
        InputError: It cannot be read, or ``benchmark_beside`` where one configuration has more rows than the other.
    """
    rows = dataset_rows(name, commit, definition.subset, definition.split)
    if definition.beside is None:
        for number, row in enumerate(rows, 1):
            yield str(number), dict(row)
        return
    others = dataset_rows(name, commit, definition.beside, definition.split)
    for number, (row, other) in enumerate(zip_longest(rows, others), 1):
        if row is None or other is None or row.get("id") != other.get("id"):
            raise InputError("benchmark_beside", name=name, row=number, one=definition.subset, two=definition.beside)
        yield str(number), {**row, "beside": dict(other)}


def _kept(path: Path) -> dict[str, Any]:
    """What was kept; nothing where there is none or it is of another version."""
    try:
        account = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return account if isinstance(account, dict) and account.get("schema_version") == SCHEMA_VERSION else {}
