"""Where rows come from: files of five formats and data sets of the Hub, cut into blocks that processes read alone.

A plain JSONL file is read where it lies, by byte ranges, and a Parquet file by row groups. Everything else (packed
files, CSV, one large JSON value, text, the Hub) can only be read from its beginning: it is copied once into block files
in a work folder, each by atomic rename, and a run that goes on takes those that are there.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from finetune.data.config import Source
from finetune.data.formats import BLOCK_BYTES, read_json, read_lines, read_text
from finetune.data.opening import file_source, stamp_of
from finetune.data.packed import ENDINGS
from finetune.data.parquet import read_row_groups, row_group_blocks
from finetune.data.records import LONGEST_RECORD, Block, Record, next_line, parsed
from finetune.data.tables import read_table
from pipelines.errors import InputError
from pipelines.home import disk_errors, write_atomically

__all__ = ["OpenSource", "open_sources", "read"]

_BLOCK_RECORDS = 20_000


@dataclass(frozen=True)
class OpenSource:
    """A source that is there.

    Attributes:
        source: What the configuration says of it, and what was found out beside that.
        name: How the ledger calls it.
        format: What it was taken for.
        sha256: Of its content; of id, revision and split for a data set of the Hub.
        path: The file; an empty path for a data set of the Hub.
        stamp: Size and time of the file when its hash was taken.
    """

    source: Source
    name: str
    format: str
    sha256: str
    path: Path = Path()
    stamp: tuple[int, int] = (0, 0)

    def blocks(self, spool: Path) -> Iterator[Block]:
        """The blocks of this source, always the same ones; ``number`` is counted from 0 in each source.

        Args:
            spool: Folder for copies, where the format needs them.

        Raises:
            InputError: The file is broken, holds nothing, or has changed since it was opened.
            CinquainError: The disk is full.
        """
        plain = self.path.suffix.lower() not in ENDINGS and self.source.encoding is None
        if self.format == "jsonl" and plain and self.source.limit is None:
            yield from _line_blocks(self.name, self.path, self.stamp)
        elif self.format == "parquet" and self.source.limit is None:
            yield from row_group_blocks(self.name, self.path, self.stamp, BLOCK_BYTES)
        else:
            yield from self._copied(spool)

    def records(self) -> Iterator[Record]:
        """All records, from the beginning.

        Raises:
            InputError: The file is broken, or has changed since it was opened.
        """
        try:
            yield from islice(self._records(), self.source.limit)
        except OSError as error:
            raise InputError("data_unreadable", path=self.source.path, problem=error.strerror or str(error)) from error

    def _records(self) -> Iterator[Record]:
        source, path = self.source, self.path
        if self.format == "jsonl":
            yield from read_lines(self.name, path, source.encoding)
        elif self.format == "json":
            yield from read_json(self.name, path, source.encoding)
        elif self.format == "csv":
            yield from read_table(self.name, path, source.delimiter, source.encoding)
        elif self.format == "text":
            yield from read_text(self.name, path, source.encoding)
        elif self.format == "parquet":
            for block in row_group_blocks(self.name, self.path, self.stamp, BLOCK_BYTES):
                yield from read(block)
        else:
            from finetune.data.hub import hub_records

            yield from hub_records(self.name, source)

    def _copied(self, spool: Path) -> Iterator[Block]:
        records, number, first = self.records(), 0, 1
        with disk_errors(spool):
            spool.mkdir(parents=True, exist_ok=True)
        while lines := _chunk(records):
            if self.format != "hub":
                _require_unchanged(self.path, self.stamp)  # a copy lasts: no part of another file in it
            path = spool / f"{number:06d}.jsonl"
            if not path.is_file():
                write_atomically(path, "".join(lines), private=True)
            yield Block(self.name, number, path, 0, path.stat().st_size, first, stamp_of(path), copied=True)
            number, first = number + 1, first + len(lines)
        if not number:
            raise InputError("data_no_records", path=self.source.path)


def open_sources(sources: list[Source]) -> list[OpenSource]:
    """Find every source and hash its content.

    Raises:
        InputError: ``data_not_found``, ``data_is_folder``, ``data_no_file``, ``data_unreadable``,
            ``data_format_unknown``, ``data_zip``, ``data_binary``, ``data_encoding_unknown``, ``data_shipped_unknown``,
            ``data_name_twice`` or ``data_no_records``; for a data set of the Hub as ``hub_identity``.
        CinquainError: The Hub cannot be asked.
    """
    opened: list[OpenSource] = []
    for source in sources:
        one = _open(source)
        if any(one.name == other.name for other in opened):
            raise InputError("data_name_twice", name=one.name)
        opened.append(one)
    return opened


def read(block: Block) -> Iterator[Record]:
    """The records of a block.

    Raises:
        InputError: ``data_changed`` where the file is not what was planned, ``data_parquet`` where it is broken.
    """
    try:
        _require_unchanged(block.path, block.stamp)
        yield from read_row_groups(block) if block.parquet else _lines_of(block)
        _require_unchanged(block.path, block.stamp)
    except OSError as error:
        raise InputError("data_unreadable", path=str(block.path), problem=error.strerror or str(error)) from error


def _lines_of(block: Block) -> Iterator[Record]:
    with block.path.open("rb") as file:
        file.seek(block.start)
        number = block.first
        while file.tell() < block.end:
            line = file.readline() if block.copied else next_line(file)
            if not line:
                raise InputError("data_changed", path=str(block.path))
            record = _copy(line) if block.copied else parsed(f"{block.source}:{number}", line)
            number += 1
            if record is not None:
                yield record


def _open(source: Source) -> OpenSource:
    if source.format == "hub" or source.path.startswith("hub:"):
        from finetune.data.hub import hub_identity

        identity = hub_identity(source)
        pinned = source.model_copy(update={"path": f"hub:{identity['id']}@{identity['revision']}"})
        sha256 = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        return OpenSource(pinned, source.name or identity["id"], "hub", sha256)
    found, path, kind = file_source(source)
    stamp = stamp_of(path)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                digest.update(data)
    except OSError as error:
        raise InputError("data_unreadable", path=str(path), problem=error.strerror or str(error)) from error
    _require_unchanged(path, stamp)
    return OpenSource(found, found.name or path.name, kind, digest.hexdigest(), path, stamp)


def _line_blocks(name: str, path: Path, stamp: tuple[int, int]) -> Iterator[Block]:
    size, number, first = stamp[0], 0, 1
    with path.open("rb") as file:
        start = 0
        while start < size:
            data = file.read(BLOCK_BYTES)
            lines, end = data.count(b"\n"), file.tell()
            if not data:
                raise InputError("data_changed", path=str(path))
            if not data.endswith(b"\n") and end < size:  # to the end of the line that the last byte stands in
                lines += 1
                while rest := file.readline(LONGEST_RECORD):
                    if rest.endswith(b"\n"):
                        break
                end = file.tell()
            yield Block(name, number, path, start, end, first, stamp)
            number, first, start = number + 1, first + lines, end


def _chunk(records: Iterator[Record]) -> list[str]:
    """The next records as lines of a copy, as many as make up a block."""
    lines: list[str] = []
    size = 0
    for record in records:
        plain = [record.id, record.data, record.problem, record.details, record.remarks]
        lines.append(json.dumps(plain) + "\n")
        size += len(lines[-1])
        if size > BLOCK_BYTES or len(lines) >= _BLOCK_RECORDS:
            break
    return lines


def _copy(line: bytes) -> Record:
    """The record that a line of a copy holds."""
    name, data, problem, details, remarks = json.loads(line)
    return Record(name, data, problem, details, tuple(remarks))


def _require_unchanged(path: Path, stamp: tuple[int, int]) -> None:
    if stamp_of(path) != stamp:
        raise InputError("data_changed", path=str(path))
