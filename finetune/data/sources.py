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
from finetune.data.formats import BLOCK_BYTES, read_json, read_row_groups, read_text, row_group_blocks
from finetune.data.packed import ENDINGS, open_bytes
from finetune.data.records import LONGEST_RECORD, Block, Record, next_line, parsed
from finetune.data.tables import read_table
from pipelines.errors import InputError
from pipelines.home import disk_errors, write_atomically

__all__ = ["OpenSource", "open_sources", "read"]

_BLOCK_RECORDS = 20_000

_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet",
            ".txt": "text", ".md": "text"}  # fmt: skip


@dataclass(frozen=True)
class OpenSource:
    """A source that is there.

    Attributes:
        source: What the configuration says of it.
        name: How the ledger calls it.
        format: What it was taken for.
        sha256: Of its content; of id, revision and split for a data set of the Hub.
    """

    source: Source
    name: str
    format: str
    sha256: str

    def blocks(self, spool: Path) -> Iterator[Block]:
        """The blocks of this source, always the same ones; ``number`` is counted from 0 in each source.

        Args:
            spool: Folder for copies, where the format needs them.

        Raises:
            InputError: The file is broken, or has changed since it was opened.
            CinquainError: The disk is full.
        """
        path = Path(self.source.path)
        if self.format == "jsonl" and path.suffix.lower() not in ENDINGS and self.source.limit is None:
            yield from _line_blocks(self.name, path)
        elif self.format == "parquet" and self.source.limit is None:
            yield from row_group_blocks(self.name, path)
        else:
            yield from self._copied(spool)

    def records(self) -> Iterator[Record]:
        """All records, from the beginning."""
        return islice(self._records(), self.source.limit)

    def _records(self) -> Iterator[Record]:
        path = Path(self.source.path)
        if self.format == "jsonl":
            yield from _lines(self.name, path)
        elif self.format == "json":
            yield from read_json(self.name, path)
        elif self.format == "csv":
            yield from read_table(self.name, path, self.source.delimiter, self.source.encoding)
        elif self.format == "text":
            yield from read_text(self.name, path, self.source.encoding)
        elif self.format == "parquet":
            for block in row_group_blocks(self.name, path):
                yield from read(block)
        else:
            from finetune.data.hub import hub_records

            yield from hub_records(self.name, self.source)

    def _copied(self, spool: Path) -> Iterator[Block]:
        records, number, first = self.records(), 0, 1
        with disk_errors(spool):
            spool.mkdir(parents=True, exist_ok=True)
        while chunk := _chunk(records):
            path = spool / f"{number:06d}.jsonl"
            if not path.is_file():
                write_atomically(path, "".join(f"{_plain(record)}\n" for record in chunk), private=True)
            size = path.stat().st_size
            yield Block(self.name, number, path, 0, size, first, copied=True, size=size)
            number, first = number + 1, first + len(chunk)


def open_sources(sources: list[Source]) -> list[OpenSource]:
    """Find every source and hash its content.

    Raises:
        InputError: ``data_not_found``, ``data_is_folder``, ``data_unreadable``, ``data_format_unknown``,
            ``data_name_twice`` or ``data_no_records``.
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
        if block.path.stat().st_size != block.size:
            raise InputError("data_changed", path=str(block.path))
        if block.parquet:
            yield from read_row_groups(block)
            return
        with block.path.open("rb") as file:
            file.seek(block.start)
            number = block.first
            while file.tell() < block.end:
                line = file.readline() if block.copied else next_line(file)
                record = _copy(line) if block.copied else parsed(f"{block.source}:{number}", line)
                number += 1
                if record is not None:
                    yield record
    except OSError as error:
        raise InputError("data_unreadable", path=str(block.path), problem=error.strerror or str(error)) from error


def _open(source: Source) -> OpenSource:
    if source.format == "hub" or source.path.startswith("hub:"):
        from finetune.data.hub import hub_identity

        identity = hub_identity(source)
        name = source.name or source.path.removeprefix("hub:").partition("@")[0]
        return OpenSource(source, name, "hub", hashlib.sha256(json.dumps(identity).encode()).hexdigest())
    path = Path(source.path)
    if path.is_dir():
        raise InputError("data_is_folder", path=str(path))
    if not path.exists():
        raise InputError("data_not_found", path=str(path))
    endings = [ending.lower() for ending in path.suffixes if ending.lower() not in ENDINGS]
    kind = source.format if source.format != "auto" else _FORMATS.get(endings[-1] if endings else "", "")
    if not kind:
        raise InputError("data_format_unknown", path=str(path), known=list(_FORMATS))
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                digest.update(data)
    except OSError as error:
        raise InputError("data_unreadable", path=str(path), problem=error.strerror or str(error)) from error
    if not path.stat().st_size:
        raise InputError("data_no_records", path=str(path))
    if kind == "csv" and ".tsv" in endings and source.delimiter is None:
        source = source.model_copy(update={"delimiter": "\t"})
    return OpenSource(source, source.name or path.name, kind, digest.hexdigest())


def _line_blocks(name: str, path: Path) -> Iterator[Block]:
    size, number, first = path.stat().st_size, 0, 1
    with path.open("rb") as file:
        start = 0
        while start < size:
            data = file.read(BLOCK_BYTES)
            lines, end = data.count(b"\n"), file.tell()
            if not data.endswith(b"\n") and end < size:  # to the end of the line that the last byte stands in
                lines += 1
                while rest := file.readline(LONGEST_RECORD):
                    if rest.endswith(b"\n"):
                        break
                end = file.tell()
            yield Block(name, number, path, start, end, first, size=size)
            number, first, start = number + 1, first + lines, end


def _lines(name: str, path: Path) -> Iterator[Record]:
    with open_bytes(path) as file:
        number = 0
        while line := next_line(file):
            number += 1
            if record := parsed(f"{name}:{number}", line):
                yield record


def _chunk(records: Iterator[Record]) -> list[Record]:
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += sum(len(value) for value in (record.data or {}).values() if isinstance(value, str))
        if size > BLOCK_BYTES or len(chunk) >= _BLOCK_RECORDS:
            break
    return chunk


def _plain(record: Record) -> str:
    """A record as a line of a copy."""
    return json.dumps([record.id, record.data, record.problem, record.details], default=str)


def _copy(line: bytes) -> Record:
    """The record that a line of a copy holds."""
    return Record(*json.loads(line))
