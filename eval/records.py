"""What a run leaves: one line for each row that was asked, private, on the disk before the next rows are asked.

A run is a folder: ``run.json`` says what was asked of what (written before the first row), ``records.jsonl`` holds what
came back, or one such file for each process that had a share of the rows. Every line has a checksum, so that what a
kill or a power cut left of the last one is told from a record. Scores are computed from records and never kept.
"""

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.costs import summary
from pipelines.errors import CinquainError, InputError
from pipelines.generation import Note
from pipelines.home import disk_errors, write_atomically

__all__ = ["Record", "RecordFile", "Run", "Shard", "begin_run", "finish_run", "held", "load_run"]

SCHEMA_VERSION = 1
_CHECKSUM = b', "crc32": '
_DESCRIBED = ("benchmark", "version", "benchmark_sha256", "task", "identity", "provenance")


@dataclass(frozen=True)
class Record:
    """What came back for one row.

    Attributes:
        row_id: The row's name within its benchmark.
        reply: What the pipeline gave; empty where it failed.
        finish_reason: As in ``Generation``; ``error`` where it failed.
        error: Code of the failure; empty where there was none.
        prompt_tokens: Tokens read, by all calls of the model together.
        completion_tokens: Tokens written.
        seconds: From the start of the rows that were asked together until this one had ended.
        first_token_s: As that, until its first token; None where none came.
        notes: What there is to know of the reply, each with ``code`` and ``parameters``; the failure where it failed.
    """

    row_id: str
    reply: str
    finish_reason: str = "stop"
    error: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    first_token_s: float | None = None
    notes: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Run:
    """A benchmark asked of a model, as far as it got.

    Attributes:
        folder: Where it lies.
        benchmark: Name of the benchmark.
        version: Its version.
        benchmark_sha256: Hash over everything in it that decides a score.
        task: Name of the task.
        identity: What decides the replies; see ``eval.identity``.
        provenance: Where the numbers come from: engine, machine, command line.
        records: In the order of the benchmark's rows; fewer than ``rows`` where the run is not finished or limited.
        costs: Tokens, seconds, memory, energy; see ``eval.costs.summary``.
        rows: How many rows the benchmark has.
        alone: Ids of rows that were asked once more by themselves, and whether the text was the same.
        notes: What a person should know of the run.
    """

    folder: Path
    benchmark: str
    version: int
    benchmark_sha256: str
    task: str
    identity: dict[str, Any]
    provenance: dict[str, Any]
    records: tuple[Record, ...]
    costs: dict[str, Any]
    rows: int = 0
    alone: dict[str, bool] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Shard:
    """The share of one process: every ``count``-th row, from row ``number`` on.

    Attributes:
        number: 1 to ``count``.
        count: How many processes there are.
    """

    number: int = 1
    count: int = 1

    @property
    def name(self) -> str:
        """Name of its records, without the extension."""
        return "records" if self.count == 1 else f"records-{self.number}-of-{self.count}"


class RecordFile:
    """Lines of JSON, each with its checksum; what was appended is on the disk, whatever happens next.

    Args:
        path: The file, readable by its owner only; it is made when something is appended or mended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[list[dict[str, Any]], int]:
        """The entries, and how many whole lines are none: their checksum is wrong. A torn last line is neither."""
        found, damaged = [], 0
        with disk_errors(self.path):
            content = self.path.read_bytes() if self.path.exists() else b""
        for line in content.split(b"\n")[:-1]:
            if (entry := _checked(line)) is None:
                damaged += 1
            else:
                found.append(entry)
        return found, damaged

    def mend(self) -> None:
        """Cut off a torn last line, so that what is appended begins a line of its own."""
        with disk_errors(self.path), os.fdopen(self._open(os.O_RDWR), "r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)

    def append(self, entries: Sequence[dict[str, Any]]) -> None:
        """Write entries, and wait until the disk has them.

        Raises:
            CinquainError: The disk is full or refuses.
        """
        lines = b"".join(_line(entry) for entry in entries)
        # Through no buffer: on a full disk its rest would be written, and fail, once more when the file closes.
        with disk_errors(self.path), os.fdopen(self._open(os.O_WRONLY | os.O_APPEND), "ab", buffering=0) as file:
            while lines:
                lines = lines[file.write(lines) :]
            os.fsync(file.fileno())

    def _open(self, flags: int) -> int:
        return os.open(self.path, flags | os.O_CREAT, 0o600)


def _line(entry: dict[str, Any]) -> bytes:
    text = json.dumps(entry, default=str).encode()
    return text[:-1] + _CHECKSUM + b"%d}\n" % zlib.crc32(text)


def _checked(line: bytes) -> dict[str, Any] | None:
    beginning, _, found = line.rpartition(_CHECKSUM)
    text = beginning + b"}"
    return dict(json.loads(text)) if found == b"%d}" % zlib.crc32(text) else None


@contextmanager
def held(folder: Path, shard: Shard) -> Iterator[None]:
    """Keep other writers of the same rows out of a run's folder; processes with other shares of it may enter.

    Raises:
        CinquainError: ``eval_in_use``.
    """
    from filelock import FileLock, Timeout

    with ExitStack() as locks:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # Whoever divides the rows in another way would ask some of them twice.
            others = [path for path in folder.glob(".records*.lock") if not _same_division(path, shard)]
            try:
                locks.enter_context(FileLock(folder / f".{shard.name}.lock").acquire(timeout=0))
                for path in others:
                    with FileLock(path).acquire(timeout=0):
                        pass
            except Timeout:
                raise CinquainError("eval_in_use", path=str(folder)) from None
        yield


def _same_division(lock: Path, shard: Shard) -> bool:
    return lock.name in {f".{Shard(number, shard.count).name}.lock" for number in range(1, shard.count + 1)}


def begin_run(folder: Path, description: dict[str, Any]) -> None:
    """Write ``run.json``, or see that the one which is there speaks of the same run.

    Args:
        folder: Folder of the run.
        description: ``benchmark``, ``version``, ``benchmark_sha256``, ``task``, ``identity``, ``provenance`` and
            ``row_ids``.

    Raises:
        InputError: ``eval_other_run`` where the identity is another.
    """
    if not (folder / "run.json").exists():
        _write(folder, {"schema_version": SCHEMA_VERSION, **description})
    elif _description(folder)["identity"] != description["identity"]:
        raise InputError("eval_other_run", folder=str(folder))


def finish_run(run: Run) -> None:
    """Add the figures of a finished run to its ``run.json``, for a person who reads it."""
    known = _description(run.folder)
    finished = {**known, "costs": run.costs, "alone": run.alone}
    if finished != known:
        _write(run.folder, finished)


def load_run(folder: Path) -> Run:
    """Read a run, the records of all its processes together.

    Args:
        folder: Folder of the run.

    Raises:
        InputError: ``eval_no_run``, or ``eval_run_newer`` for one that a later version wrote.
    """
    known = _description(folder)
    rows: dict[str, Record] = {}
    alone: dict[str, bool] = {}
    windows, waits, notes = [], [], []
    for path in sorted(folder.glob("records*.jsonl")):
        entries, damaged = RecordFile(path).read()
        if damaged:
            notes.append(Note("eval_records_damaged", {"path": str(path), "lines": damaged}))
        for entry in entries:
            kind = entry.pop("kind")
            if kind == "row":
                record = Record(**{**entry, "notes": tuple(entry["notes"])})
                rows[record.row_id] = record  # a later one is of a row that had failed and was asked again
            elif kind == "alone":
                alone[entry["row_id"]] = entry["same"]
                waits.append(entry["seconds"])
            else:
                windows.append((path.name, entry))
    records = tuple(rows[name] for name in known["row_ids"] if name in rows)
    if alone:
        notes.append(Note("eval_alone", {"rows": len(alone), "differing": list(alone.values()).count(False)}))
    return Run(
        folder=folder,
        records=records,
        costs=summary(windows, [record.seconds for record in records if not record.error], waits),
        rows=len(known["row_ids"]),
        alone=alone,
        notes=tuple(notes),
        **{name: known[name] for name in _DESCRIBED},
    )


def _write(folder: Path, content: dict[str, Any]) -> None:
    write_atomically(folder / "run.json", json.dumps(content, ensure_ascii=False, indent=1) + "\n", private=True)


def _description(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    try:
        known = json.loads(path.read_bytes())
        version = known["schema_version"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError("eval_no_run", folder=str(folder)) from None
    if version > SCHEMA_VERSION:
        raise InputError("eval_run_newer", folder=str(folder), found=version, known=SCHEMA_VERSION)
    return dict(known)
