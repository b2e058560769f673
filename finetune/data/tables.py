"""CSV files of any encoding and delimiter."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from finetune.data.packed import open_bytes
from finetune.data.records import LONGEST_RECORD, Record
from pipelines.errors import InputError

__all__ = ["find_delimiter", "find_encoding", "read_table"]

_SAMPLE = 1 << 20
_DELIMITERS = (",", "\t", ";", "|")


def read_table(name: str, path: Path, delimiter: str | None, encoding: str | None) -> Iterator[Record]:
    """The rows of a CSV file; the first line names the columns.

    Args:
        name: Of the source, for the records' ids.
        path: The file, packed or not.
        delimiter: Between cells; found out where None.
        encoding: Of the text; found out where None.

    Raises:
        InputError: ``data_no_records`` for an empty file, ``data_encoding``.
    """
    with open_bytes(path) as stream:
        sample = stream.read(_SAMPLE)
    if not sample.strip():
        raise InputError("data_no_records", path=str(path))
    encoding = encoding or find_encoding(sample, path)
    delimiter = delimiter or find_delimiter(sample.decode(encoding, "replace"))
    with open_bytes(path) as stream:
        yield from _rows(name, stream, path, delimiter, encoding)


def _rows(name: str, stream: IO[bytes], path: Path, delimiter: str, encoding: str) -> Iterator[Record]:
    csv.field_size_limit(LONGEST_RECORD)
    text = io.TextIOWrapper(stream, encoding, newline="")
    reader = csv.reader(text, delimiter=delimiter)
    number = 0
    try:
        head = [cell.strip().removeprefix("\ufeff") for cell in next(reader)]
        if twice := [column for column, count in Counter(head).items() if count > 1]:
            raise InputError("data_columns_twice", path=str(path), columns=twice)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            number += 1
            record = f"{name}:{number}"
            if len(cells) != len(head):
                yield Record(record, None, "cells", {"expected": len(head), "found": len(cells), "cells": cells[:20]})
            else:
                yield Record(record, dict(zip(head, cells, strict=True)))
    except UnicodeDecodeError as error:
        raise InputError("data_encoding", path=str(path), encoding=encoding, position=error.start) from error
    except csv.Error as error:
        raise InputError("data_csv", path=str(path), line=reader.line_num, problem=str(error)) from error


def find_encoding(sample: bytes, path: Path) -> str:
    """The encoding of a text by its first bytes: UTF-8 if it can be, else the most likely one.

    Raises:
        InputError: ``data_binary`` for bytes that are no text.
    """
    from charset_normalizer import from_bytes

    if sample.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        sample[: sample.rfind(b"\n") + 1 or None].decode("utf-8")  # a sample may end within a character
        return "utf-8"
    except UnicodeDecodeError:
        best = from_bytes(sample[:100_000]).best()
    if best is None:
        raise InputError("data_binary", path=str(path))
    return str(best.encoding)


def find_delimiter(sample: str) -> str:
    """The delimiter that gives the same number of cells, more than one, in most rows; a comma where none does."""

    def score(delimiter: str) -> tuple[float, int]:
        rows = list(csv.reader(io.StringIO(sample), delimiter=delimiter))[:200]
        rows = [row for row in rows[:-1] or rows if row]  # the last one may be cut
        if not rows or len(rows[0]) < 2:
            return 0.0, 0
        return sum(len(row) == len(rows[0]) for row in rows) / len(rows), len(rows[0])

    csv.field_size_limit(LONGEST_RECORD)
    return max(_DELIMITERS, key=score)
