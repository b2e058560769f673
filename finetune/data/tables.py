"""CSV files of any encoding and delimiter."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune.data.records import LONGEST_RECORD, Record
from finetune.data.text_encoding import open_text
from pipelines.errors import InputError

__all__ = ["find_delimiter", "read_table"]

_SAMPLE = 1 << 20
_DELIMITERS = (",", "\t", ";", "|")
_SHOWN = 200


def read_table(name: str, path: Path, delimiter: str | None, encoding: str | None) -> Iterator[Record]:
    """The rows of a CSV file; the first line that is not blank names the columns, those without a name by their place.

    A row of another number of cells is a record with the problem ``cells``, one with text behind a closing quotation
    mark one with ``quotes``. A quotation mark that is never closed would swallow all rows behind it, and is an error.

    Args:
        name: Of the source, for the records' ids.
        path: The file, packed or not.
        delimiter: Between cells; found out where None.
        encoding: Of the text; found out where None.

    Raises:
        InputError: ``data_binary``, ``data_encoding``, ``data_csv`` or ``data_columns_twice``.
    """
    if delimiter is None:
        with open_text(path, encoding) as (text, _):
            delimiter = find_delimiter(text.read(_SAMPLE))
    csv.field_size_limit(LONGEST_RECORD)
    with open_text(path, encoding) as (text, remarks):
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        head: list[str] = []
        number = 0
        for line, cells, problem in _rows(reader, path):
            if not head:
                if problem:
                    raise InputError("data_csv", path=str(path), line=line, problem=problem)
                head = _columns(cells, path)
                continue
            number += 1
            record = f"{name}:{number}"
            if problem:
                yield Record(record, None, "quotes", {"line": line, "problem": problem})
            elif len(cells) != len(head):
                shown = [cell[:_SHOWN] for cell in cells[:20]]
                yield Record(
                    record, None, "cells", {"line": line, "expected": len(head), "found": len(cells), "cells": shown}
                )
            else:
                yield Record(record, dict(zip(head, cells, strict=True)), remarks=remarks)


def _rows(reader: Any, path: Path) -> Iterator[tuple[int, list[str], str]]:
    """(line that it begins in, cells, what is wrong) of each row that is not blank."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # The reader goes on with the next line, but not from a cell that has no end.
            if "expected after" not in str(error):
                raise InputError("data_csv", path=str(path), line=line, problem=str(error)) from error
            yield line, [], str(error)
            continue
        if cells:
            yield line, cells, ""


def _columns(cells: list[str], path: Path) -> list[str]:
    names = [cell.strip().removeprefix("\ufeff") for cell in cells]
    if twice := [column for column, count in Counter(filter(None, names)).items() if count > 1]:
        raise InputError("data_columns_twice", path=str(path), columns=twice)
    return [column or f"column_{place}" for place, column in enumerate(names, 1)]


def find_delimiter(sample: str) -> str:
    """The delimiter that gives the same number of cells, more than one, in most rows; a comma where none does."""

    def score(delimiter: str) -> tuple[float, int]:
        rows = list(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter))[:200]
        rows = [row for row in rows[:-1] or rows if row]  # the last one may be cut
        if not rows or len(rows[0]) < 2:
            return 0.0, 0
        return sum(len(row) == len(rows[0]) for row in rows) / len(rows), len(rows[0])

    csv.field_size_limit(LONGEST_RECORD)
    return max(_DELIMITERS, key=score)
