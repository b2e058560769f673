"""Parquet files as records: values of every type as JSON has them."""

import base64
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from finetune.data.packed import refuse_bomb
from finetune.data.records import Block, Record, taken
from pipelines.errors import InputError

__all__ = ["as_json", "read_row_groups", "row_group_blocks"]

_BATCH = 64
"""Rows in memory at a time: as fast as a thousand, and long texts that a file repeats stay few."""


def row_group_blocks(name: str, path: Path, stamp: tuple[int, int], block_bytes: int) -> Iterator[Block]:
    """The row groups of a Parquet file, as many in a block as make up its bytes.

    Args:
        name: Of the source.
        path: The file.
        stamp: Its size and time.
        block_bytes: Of a block, before compression.

    Raises:
        InputError: ``data_parquet``, ``data_columns_twice``, or ``data_no_records`` for a file of no rows.
    """
    with _opened(path) as file:
        columns = file.schema_arrow.names
        if twice := sorted({column for column in columns if columns.count(column) > 1}):
            raise InputError("data_columns_twice", path=str(path), columns=twice)
        groups = [file.metadata.row_group(place) for place in range(file.metadata.num_row_groups)]
    if not sum(group.num_rows for group in groups):
        raise InputError("data_no_records", path=str(path))
    number, first, start = 0, 1, 0
    while start < len(groups):
        end, size = start + 1, groups[start].total_byte_size
        while end < len(groups) and size + groups[end].total_byte_size <= block_bytes:
            size += groups[end].total_byte_size
            end += 1
        yield Block(name, number, path, start, end, first, stamp, parquet=True)
        first += sum(group.num_rows for group in groups[start:end])
        number, start = number + 1, end


def read_row_groups(block: Block) -> Iterator[Record]:
    """The rows of a block of row groups, a few in memory at a time.

    Raises:
        InputError: ``data_parquet``; ``data_bomb``, as a repeated text takes no room in such a file.
    """
    number, size, packed = block.first, 0, block.stamp[0]
    with _opened(block.path) as file:
        for batch in file.iter_batches(_BATCH, row_groups=list(range(block.start, block.end))):
            for row in _rows(batch):
                if isinstance(row, dict):
                    size += sum(len(value) for value in row.values() if isinstance(value, str | bytes))
                    refuse_bomb(block.path, packed, size)
                record = f"{block.source}:{number}"
                yield taken(record, as_json(row)) if isinstance(row, dict) else Record(record, None, *_problem(row))
                number += 1


def as_json(value: Any) -> Any:
    """A value as JSON has it: what JSON lacks as text; NaN, which stands for a missing number, as null.

    Bytes that are UTF-8 are text, as older programs write it; others become ``{"base64": …}``.
    """
    if isinstance(value, str | bool | int | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    return value.isoformat() if isinstance(value, datetime | date | time) else str(value)


def _rows(batch: Any) -> Iterator[dict[str, Any] | Exception]:
    """Each row, or why it cannot be read: texts that are no UTF-8, dates that no calendar has."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        for place in range(batch.num_rows):
            try:
                yield batch.slice(place, 1).to_pylist()[0]
            except (ValueError, OverflowError) as error:
                yield error


def _problem(error: Exception) -> tuple[str, dict[str, Any]]:
    if isinstance(error, UnicodeDecodeError):
        return "not_unicode", {"byte": error.start}
    return "value", {"problem": str(error)[:200]}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError("data_parquet", path=str(path), problem=(str(error).splitlines() or ["–"])[0][:200]) from error
