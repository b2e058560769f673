"""JSON values, lines in other encodings than UTF-8, and plain text as records."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune.data.packed import open_bytes
from finetune.data.records import LONGEST_RECORD, Record, decoder, next_line, parsed, taken
from finetune.data.text_encoding import GUESSED, find_encoding, open_text
from pipelines.errors import InputError

__all__ = ["BLOCK_BYTES", "holds_lines", "read_json", "read_lines", "read_text"]

BLOCK_BYTES = 8_000_000
"""Bytes of a block: a second of work or so, far more than what handing it to a process costs."""

_LARGEST_JSON = 1_000_000_000
"""Bytes of one JSON value, which has to be read as a whole; JSONL has no such limit."""

_CHATS = ("messages", "conversations", "turns")
"""Lists of objects that are one record and not many."""


def holds_lines(path: Path) -> bool:
    """Whether a file named ``.json`` is JSONL: its first line is a whole object, and another one follows."""
    with open_bytes(path) as stream:
        lines = (line for _ in range(100) if (line := next_line(stream).lstrip(b"\xef\xbb\xbf \t\r\n")))
        first, second = next(lines, b""), next(lines, b"")
    if not (first.startswith(b"{") and second.startswith(b"{")):
        return False
    record = parsed("", first)
    return record is not None and record.problem != "not_json"


def read_json(name: str, path: Path, encoding: str | None = None) -> Iterator[Record]:
    """The records of one JSON value.

    An array of objects; an object with one such array in it (``{"data": […]}``); columns, as lists of one length or,
    as pandas writes them, as objects with the row numbers for keys; any other object is one record.

    Raises:
        InputError: ``data_json``, ``data_json_large``, ``data_encoding``, ``data_binary``.
    """
    with open_bytes(path) as stream:
        data = stream.read(_LARGEST_JSON + 1)
    if len(data) > _LARGEST_JSON:
        raise InputError("data_json_large", path=str(path), limit=_LARGEST_JSON // 10**6)
    sure = True
    if encoding is None:
        encoding, sure = find_encoding(data[: 1 << 20], path)
    try:
        value = decoder.decode(data.decode(encoding))
    except UnicodeError as error:
        found = error.object[error.start : error.start + 4].hex(" ") if isinstance(error, UnicodeDecodeError) else "–"
        raise InputError("data_encoding", path=str(path), encoding=encoding, found=found) from error
    except (ValueError, RecursionError) as error:
        raise InputError("data_json", path=str(path), problem=str(error)) from error
    del data
    remarks = () if sure else (GUESSED,)
    for number, each in enumerate(_values(value), 1):
        yield taken(f"{name}:{number}", each, remarks)


def _values(value: Any) -> list[Any]:
    """The records in a value."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict) or not value or any(column in value for column in _CHATS):
        return [value]
    columns = list(value.values())
    if all(isinstance(column, dict) and column.keys() == columns[0].keys() for column in columns):
        if columns[0] and all(
            key.isdecimal() for key in columns[0]
        ):  # pandas: {"text": {"0": "…", "1": "…"}, "reply": {…}}
            return [{name: column[key] for name, column in value.items()} for key in columns[0]]
        if all(key.isdecimal() for key in value):  # and the other way round
            return columns
    lists = [column for column in columns if isinstance(column, list) and column]
    if len(lists) == 1 and isinstance(lists[0][0], dict):
        return lists[0]
    plain = len(lists) == len(columns) and not any(isinstance(each, dict | list) for each in columns[0])
    if plain and len(columns) > 1 and len({len(column) for column in lists}) == 1:
        return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return [value]


def read_lines(name: str, path: Path, encoding: str | None) -> Iterator[Record]:
    """JSONL that is packed, or in an encoding that was named or is told by a mark at its beginning.

    Raises:
        InputError: ``data_encoding``.
    """
    if encoding is None:
        with open_bytes(path) as stream:
            for number, line in enumerate(iter(lambda: next_line(stream), b""), 1):
                if record := parsed(f"{name}:{number}", line):
                    yield record
        return
    with open_text(path, encoding) as (text, _):
        number = 0
        while decoded := _line(text):
            number += 1
            if record := parsed(f"{name}:{number}", decoded.encode("utf-8", "surrogatepass")):
                yield record


def read_text(name: str, path: Path, encoding: str | None) -> Iterator[Record]:
    """Plain text: what stands between blank lines, in the column ``text``.

    Raises:
        InputError: ``data_encoding``, ``data_binary``.
    """
    number, size = 0, 0
    lines: list[str] = []

    def record() -> Iterator[Record]:
        nonlocal number, size, lines
        text = "".join(lines).strip()
        if size > LONGEST_RECORD:
            number += 1
            yield Record(f"{name}:{number}", None, "too_large", {"characters": size, "limit": LONGEST_RECORD})
        elif text:
            number += 1
            yield Record(f"{name}:{number}", {"text": text}, remarks=remarks)
        lines, size = [], 0

    with open_text(path, encoding) as (stream, remarks):
        while line := _line(stream):
            if line.strip():
                size += len(line)
                if size <= LONGEST_RECORD:
                    lines.append(line)
            else:
                yield from record()
        yield from record()


def _line(text: Any) -> str:
    """The next line; of one that is far too long just enough to see that it is."""
    line = rest = text.readline(LONGEST_RECORD + 1)
    while rest and not rest.endswith(("\n", "\r")):
        rest = text.readline(LONGEST_RECORD)
    return str(line)
