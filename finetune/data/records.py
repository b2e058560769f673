"""Records as they are read: one piece of raw data each, or what is wrong with it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from finetune.data.row import Outcome, drop

__all__ = ["LONGEST_RECORD", "Block", "Record", "checked", "next_line", "parsed"]

LONGEST_RECORD = 16_000_000
"""Bytes of one record: eight times the longest text that a task accepts. More is no row but a file that was not cut."""


@dataclass(frozen=True)
class Record:
    """One record of a source.

    Attributes:
        id: ``<source>:<number>``: the line of a JSONL file, else the place of the record, from 1 on.
        data: Its columns; None where it could not be read.
        problem: Why not: ``not_unicode``, ``not_json``, ``not_object``, ``too_large``, ``cells``.
        details: More on that.
    """

    id: str
    data: dict[str, Any] | None
    problem: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """A share of a source that one process reads on its own.

    Attributes:
        source: Name of the source.
        number: Its place among the blocks of all sources.
        path: File that holds it.
        start: First byte of a JSONL file, or first row group of a Parquet file.
        end: Byte, or row group, after the last.
        first: Number of its first record.
        parquet: Whether the file is a Parquet file.
        copied: Whether it is a copy that was made for this, a record a line.
        size: Bytes of the whole file as it was planned, to notice a file that changes meanwhile.
    """

    source: str
    number: int
    path: Path
    start: int
    end: int
    first: int
    parquet: bool = False
    copied: bool = False
    size: int = -1


def parsed(name: str, line: bytes) -> Record | None:
    """The record in a line of JSON; None for a blank line."""
    if len(line) > LONGEST_RECORD:
        return Record(name, None, "too_large", {"bytes": len(line), "limit": LONGEST_RECORD})
    if not line.strip():
        return None
    try:
        text = line.decode("utf-8-sig")
        data = json.loads(text, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        return Record(name, None, "not_unicode", {"byte": error.start})
    except (ValueError, RecursionError) as error:
        return Record(name, None, "not_json", {"problem": str(error)[:200], "text": text.strip()[:200]})
    if not isinstance(data, dict):
        return Record(name, None, "not_object", {"found": type(data).__name__, "text": text.strip()[:200]})
    return Record(name, data)


def checked(record: Record) -> Outcome | None:
    """The step "read": why a record is no row; None for one that goes on."""
    return drop(record.problem, **record.details) if record.data is None else None


def next_line(file: IO[bytes]) -> bytes:
    """The next line; of one that is far too long just enough to see that it is."""
    line: bytes = file.readline(LONGEST_RECORD + 1)
    rest = line
    while rest and not rest.endswith(b"\n"):
        rest = file.readline(LONGEST_RECORD)
    return line


def _no_constant(name: str) -> None:
    """NaN and Infinity: Python reads and writes them, JSON does not have them, and other readers stop at them."""
    raise ValueError(f"JSON has no {name}")
