"""JSON values, plain text and Parquet files as records."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune.data.packed import open_bytes
from finetune.data.records import Block, Record, next_line, parsed
from finetune.data.tables import find_encoding
from pipelines.errors import InputError

__all__ = ["BLOCK_BYTES", "read_json", "read_row_groups", "read_text", "row_group_blocks"]

BLOCK_BYTES = 8_000_000
"""Bytes of a block: a second of work or so, far more than what handing it to a process costs."""

_LARGEST_JSON = 1_000_000_000
"""Bytes of one JSON value, which has to be read as a whole; JSONL has no such limit."""


def read_json(name: str, path: Path) -> Iterator[Record]:
    """The objects of an array, or of the one list in an object; a single object is one record."""
    with open_bytes(path) as stream:
        data = stream.read(_LARGEST_JSON + 1)
    if len(data) > _LARGEST_JSON:
        raise InputError("data_json_large", path=str(path), limit=_LARGEST_JSON // 10**6)
    try:
        value = json.loads(data.decode(find_encoding(data[: 1 << 20], path)))
    except (ValueError, RecursionError) as error:
        raise InputError("data_json", path=str(path), problem=str(error)) from error
    if isinstance(value, dict):
        lists = [each for each in value.values() if isinstance(each, list) and each and isinstance(each[0], dict)]
        value = lists[0] if len(lists) == 1 and "messages" not in value else [value]
    for number, each in enumerate(value if isinstance(value, list) else [value], 1):
        record = parsed(f"{name}:{number}", json.dumps(each).encode())
        assert record is not None
        yield record


def read_text(name: str, path: Path, encoding: str | None) -> Iterator[Record]:
    """Plain text: what stands between blank lines, in the column ``text``."""
    with open_bytes(path) as stream:
        encoding = encoding or find_encoding(stream.read(1 << 20), path)
    number, lines = 0, []
    with open_bytes(path) as stream:
        while line := next_line(stream):
            try:
                lines.append(line.decode(encoding))
            except UnicodeDecodeError as error:
                raise InputError("data_encoding", path=str(path), encoding=encoding, position=error.start) from error
            if not lines[-1].strip():
                if text := "".join(lines).strip():
                    number += 1
                    yield Record(f"{name}:{number}", {"text": text})
                lines = []
    if text := "".join(lines).strip():
        yield Record(f"{name}:{number + 1}", {"text": text})


def row_group_blocks(name: str, path: Path) -> Iterator[Block]:
    """The row groups of a Parquet file, as many in a block as make up its bytes.

    Raises:
        InputError: ``data_parquet``.
    """
    with _parquet(path) as file:
        groups = [file.metadata.row_group(place) for place in range(file.metadata.num_row_groups)]
    number, first, start = 0, 1, 0
    while start < len(groups):
        end = start + 1
        while end < len(groups) and sum(group.total_byte_size for group in groups[start : end + 1]) <= BLOCK_BYTES:
            end += 1
        yield Block(name, number, path, start, end, first, parquet=True, size=path.stat().st_size)
        first += sum(group.num_rows for group in groups[start:end])
        number, start = number + 1, end


def read_row_groups(block: Block) -> Iterator[Record]:
    """The rows of a block of row groups, a thousand in memory at a time.

    Raises:
        InputError: ``data_parquet``.
    """
    import pyarrow

    number = block.first
    with _parquet(block.path) as file:
        try:
            for batch in file.iter_batches(1000, row_groups=list(range(block.start, block.end))):
                for data in batch.to_pylist():
                    record = parsed(f"{block.source}:{number}", json.dumps(data, default=str).encode())
                    assert record is not None
                    yield record
                    number += 1
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError("data_parquet", path=str(block.path), problem=str(error)[:200]) from error


def _parquet(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError("data_parquet", path=str(path), problem=str(error)[:200]) from error
