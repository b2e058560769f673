"""Benchmarks by name or file: the definition, its rows, and which of them are taken."""

import hashlib
import heapq
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from eval.benchmarks.definition import Benchmark, BenchmarkRow
from eval.benchmarks.docstrings import docstring_summary
from eval.benchmarks.hub import kept_records
from eval.benchmarks.rows import request_texts, row_of, rows_hash
from eval.benchmarks.schema import BenchmarkFile, parse_benchmark, read_benchmark_file
from eval.benchmarks.sources import Numbered, file_records, package_records, rows_file
from pipelines.errors import InputError, nearest
from pipelines.tasks import TASKS

__all__ = ["load_benchmark", "names", "suite"]

FOLDER = Path(__file__).parent
SUITES = ("smoke", "standard", "hub")
"""Folders of definitions beside this file."""


def names() -> tuple[str, ...]:
    """Names of the benchmarks that ship, in the order of their suites."""
    return tuple(_shipped())


def suite(name: str) -> tuple[str, ...]:
    """Names of the benchmarks of a suite, in the order of the tasks.

    Raises:
        InputError: ``benchmark_suite_unknown``, with the nearest names.
    """
    if name not in SUITES:
        raise InputError("benchmark_suite_unknown", found=name, nearest=nearest(name, SUITES))
    return tuple(each for each, path in _shipped().items() if path.parent.name == name)


def load_benchmark(reference: str, *, task: str | None = None) -> Benchmark:
    """Load a benchmark.

    Args:
        reference: Name of one that ships, also ``name@version``; or a YAML or JSONL file.
        task: Of a JSONL file whose rows have no column ``task``.

    Raises:
        InputError: There is none of that name or version, or its file or a row cannot be read.
        CinquainError: Its rows are on the Hub, which cannot be asked.
    """
    path = Path(reference).expanduser()
    if path.suffix.lower() in (".yaml", ".yml"):
        return _built(read_benchmark_file(path), path.parent)
    if path.suffix.lower() == ".jsonl":
        known = {"name": path.stem, "task": task or _own_task(path), "rows": path.name}
        return _built(parse_benchmark(known, str(path)), path.parent)
    name, _, version = reference.partition("@")
    if name not in _shipped():
        raise InputError("benchmark_unknown", found=name, nearest=nearest(name, _shipped()))
    definition = read_benchmark_file(_shipped()[name])
    if version and version != str(definition.version):
        raise InputError("benchmark_version", name=name, wanted=version, version=definition.version)
    return _built(definition, _shipped()[name].parent)


@cache
def _shipped() -> dict[str, Path]:
    order = list(TASKS)
    found = [path for each in SUITES for path in sorted((FOLDER / each).glob("*.yaml"))]
    found.sort(key=lambda path: (SUITES.index(path.parent.name), order.index(read_benchmark_file(path).task)))
    return {path.stem: path for path in found}


def _own_task(path: Path) -> str:
    """The task that the first row names."""
    if not path.is_file():
        raise InputError("benchmark_rows_missing", name=path.stem, path=str(path))
    for _, record in file_records(path):
        if isinstance(record.get("task"), str):
            return str(record["task"])
        break
    raise InputError("benchmark_task_unsaid", path=str(path), name=path.name)


def _built(definition: BenchmarkFile, folder: Path) -> Benchmark:
    from eval.metrics import named  # they import the rows of benchmarks

    remarks = definition.remarks
    metrics = definition.metrics or TASKS[definition.task].metrics
    for name in metrics:
        named(name)  # a wrong name is said before a model has answered for hours
    if definition.rows.startswith("hub:"):
        records, commit = kept_records(definition, lambda every: _chosen(every, definition))
        remarks = f"{remarks} Commit {commit}.".strip()
    elif definition.rows == "humaneval":
        records = _chosen(package_records(definition.rows), definition)
    else:
        records = _chosen(file_records(rows_file(definition, folder)), definition)
    rows = tuple(_row(record, place, definition) for place, record in records)
    if not rows:
        raise InputError("benchmark_empty", name=definition.name)
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise InputError("benchmark_row_twice", name=definition.name, id=row.id)
        seen.add(row.id)
    if definition.rows_sha256 and (found := rows_hash(rows)) != definition.rows_sha256:
        raise InputError("benchmark_other_rows", name=definition.name, found=found[:12], source=definition.rows)
    return Benchmark(
        name=definition.name,
        version=definition.version,
        task=definition.task,
        rows=rows,
        metrics=metrics,
        max_new_tokens=definition.max_new_tokens,
        licence=definition.licence,
        origin=definition.origin,
        remarks=remarks,
    )


def _chosen(records: Iterator[Numbered], definition: BenchmarkFile) -> list[Numbered]:
    """The records that the benchmark takes, in their order; no more than these are in memory at once."""
    wanted = ((place, record) for place, each in records if (record := _wanted(place, each, definition)) is not None)
    if definition.limit is None:
        return list(wanted)
    hashed = (
        (_unit(json.dumps(record, sort_keys=True, ensure_ascii=False, default=str)), number, place, record)
        for number, (place, record) in enumerate(wanted)
    )
    first = heapq.nsmallest(definition.limit, hashed, key=lambda one: one[:2])
    return [(place, record) for _, _, place, record in sorted(first, key=lambda one: one[1])]


def _wanted(place: str, record: dict[str, Any], definition: BenchmarkFile) -> dict[str, Any] | None:
    if any(str(record.get(column)) not in values for column, values in definition.where.items()):
        return None
    if definition.held_out is not None:
        group = f"{definition.group}:{record.get(definition.group or '')}"
        if _unit(f"0:{group}") >= definition.held_out:  # the seed of a split, unless it is given
            return None
    made = docstring_summary(record) if definition.derived else record
    if made is not None and definition.longest is not None:
        try:
            request = row_of(made, place, definition).request
        except InputError as error:
            if error.code == "text_empty":
                return None
            raise _in_row(error, place, definition) from error
        if sum(map(len, request_texts(request, definition.task))) > definition.longest:
            return None
    return made


def _unit(text: str) -> float:
    """A number from 0 up to 1 that a text always has: the one by which preparation of data divides rows."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()[:6]) / 2**48


def _row(record: dict[str, Any], place: str, definition: BenchmarkFile) -> BenchmarkRow:
    try:
        return row_of(record, place, definition)
    except InputError as error:
        raise _in_row(error, place, definition) from error


def _in_row(error: InputError, place: str, definition: BenchmarkFile) -> InputError:
    return InputError("benchmark_row", name=definition.name, row=place, problem=str(error).rstrip("."))
