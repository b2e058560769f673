"""Records as they are read: one piece of raw data each, or what is wrong with it."""

import json
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from finetune.data.row import Outcome, drop

__all__ = ["LONGEST_RECORD", "Block", "Record", "RepeatedKeys", "checked", "decoder", "next_line", "parsed", "taken"]

LONGEST_RECORD = 16_000_000
"""Bytes of one record: eight times the longest text that a task accepts. More is no row but a file that was not cut."""

_DEEPEST = 100
"""Levels of lists and objects. Chats have four; at a thousand, libraries and Python itself give up."""
_SHOWN = 200


@dataclass(frozen=True)
class Record:
    """One record of a source.

    Attributes:
        id: ``<source>:<number>``: the line of a JSONL file, else the place of the record, from 1 on.
        data: Its columns; None where it could not be read.
        problem: Why not: ``not_unicode``, ``not_json``, ``not_object``, ``key_twice``, ``too_large``, ``too_deep``,
            ``cells``, ``quotes``, ``value``.
        details: More on that.
        remarks: What a person should know of how it was read, as words that the ledger counts.
    """

    id: str
    data: dict[str, Any] | None
    problem: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """A share of a source that one process reads on its own.

    Attributes:
        source: Name of the source.
        number: Its place among the blocks of the source.
        path: File that holds it.
        start: First byte of a JSONL file, or first row group of a Parquet file.
        end: Byte, or row group, after the last.
        first: Number of its first record.
        stamp: Size and time of the file as it was planned, to notice one that changes meanwhile.
        parquet: Whether the file is a Parquet file.
        copied: Whether it is a copy that was made for this, a record a line.
    """

    source: str
    number: int
    path: Path
    start: int
    end: int
    first: int
    stamp: tuple[int, int]
    parquet: bool = False
    copied: bool = False


class RepeatedKeys(dict[str, Any]):
    """An object of JSON in which a key stands twice: Python would keep the last value and lose the others.

    Attributes:
        key: The first such key.
    """

    key: str = ""


def parsed(name: str, line: bytes) -> Record | None:
    """The record in a line of JSON; None for a blank line."""
    if len(line) > LONGEST_RECORD:
        return Record(name, None, "too_large", {"bytes": len(line), "limit": LONGEST_RECORD})
    try:
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        return Record(name, None, "not_unicode", {"byte": error.start})
    if not text:
        return None
    try:
        record = taken(name, decoder.decode(text))
    except (ValueError, RecursionError) as error:
        record = Record(name, None, "not_json", {"problem": str(error)[:_SHOWN]})
    return record if record.data is not None else replace(record, details={**record.details, "text": text[:_SHOWN]})


def taken(name: str, value: Any, remarks: tuple[str, ...] = ()) -> Record:
    """The record in a value of JSON that was read already."""
    if not isinstance(value, dict):
        return Record(name, None, "not_object", {"found": type(value).__name__})
    problem, details = _fault(value)
    return Record(name, None, problem, details) if problem else Record(name, value, remarks=remarks)


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


def _fault(data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What makes a record unusable as a whole; no word where nothing does."""
    level: list[Any] = [data]
    size = 0
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for each in level:
            if isinstance(each, str):
                size += len(each)
            elif isinstance(each, dict):
                if isinstance(each, RepeatedKeys):
                    return "key_twice", {"key": each.key[:_SHOWN]}
                size += sum(map(len, each))
                below += each.values()
            elif isinstance(each, list):
                below += each
            elif isinstance(each, float) and not math.isfinite(each):
                # Python reads and writes NaN, JSON does not have it, and other readers stop at it.
                return "not_json", {"problem": f"JSON has no {each}"}
        if size > LONGEST_RECORD:
            return "too_large", {"characters": size, "limit": LONGEST_RECORD}
        if not below:
            return "", {}
        level = below
    return "too_deep", {"limit": _DEEPEST}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) == len(pairs):
        return data
    repeated = RepeatedKeys(data)
    repeated.key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return repeated


decoder = json.JSONDecoder(object_pairs_hook=_object)
"""Reads JSON and marks objects in which a key stands twice."""
