"""What a person named as a source of rows, found: a file that is there, and what its format is."""

import stat
from pathlib import Path

from finetune.data.config import Source
from finetune.data.formats import holds_lines
from finetune.data.packed import ARCHIVES, ENDINGS, open_bytes
from finetune.data.text_encoding import check_encoding, find_encoding
from pipelines.errors import InputError, nearest
from pipelines.tasks import TASKS

__all__ = ["SHIPPED", "file_source", "stamp_of"]

SHIPPED = "shipped:"
"""What the path of a training set begins with that ships with Cinquain: ``shipped:translation``."""

_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet",
            ".txt": "text", ".md": "text"}  # fmt: skip

# What files begin with that are something else than their name says; text never does.
_MAGIC = (b"PAR1", b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"%PDF-",
          b"SQLite format 3\x00", b"\x89PNG", b"\xff\xd8\xff", b"ARROW1", b"\xd0\xcf\x11\xe0")  # fmt: skip


def file_source(source: Source) -> tuple[Source, Path, str]:
    """Find the file of a source.

    Returns:
        The source with the name, delimiter and encoding that follow from the file; the file; its format: ``jsonl``,
        ``json``, ``csv``, ``text`` or ``parquet``.

    Raises:
        InputError: As ``open_sources``.
    """
    check_encoding(source.encoding)
    try:
        path = _shipped(source.path) if source.path.startswith(SHIPPED) else Path(source.path).expanduser()
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError, RuntimeError) as error:
        raise InputError("data_not_found", path=source.path) from error
    except OSError as error:
        raise InputError("data_unreadable", path=source.path, problem=error.strerror or str(error)) from error
    if stat.S_ISDIR(mode):
        raise InputError("data_is_folder", path=str(path))
    if not stat.S_ISREG(mode):
        raise InputError("data_no_file", path=str(path))
    endings = [ending.lower() for ending in path.suffixes]
    kind = _kind(source, path, [ending for ending in endings if ending not in ENDINGS])
    changes = {"name": source.path} if source.path.startswith(SHIPPED) and not source.name else {}
    if kind == "csv" and ".tsv" in endings and source.delimiter is None:
        changes["delimiter"] = "\t"
    beginning = _beginning(path)
    if not beginning:
        raise InputError("data_no_records", path=str(path))
    if kind != "parquet" and beginning.startswith(_MAGIC):
        raise InputError("data_binary", path=str(path))
    if kind == "jsonl" and source.encoding is None and beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
        changes["encoding"] = find_encoding(beginning, path)[0]  # as Windows PowerShell writes what is redirected
    if kind == "json" and source.format == "auto" and source.encoding is None and holds_lines(path):
        kind = "jsonl"
    return source.model_copy(update=changes), path, kind


def stamp_of(path: Path) -> tuple[int, int]:
    """Size and time of a file: where both are the same, so is its content, short of somebody who means to deceive.

    Raises:
        InputError: ``data_changed`` where the file has gone.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise InputError("data_changed", path=str(path)) from error
    return about.st_size, about.st_mtime_ns


def _kind(source: Source, path: Path, endings: list[str]) -> str:
    ending = endings[-1] if endings else ""
    if ending in ARCHIVES:
        raise InputError("data_zip", path=str(path), endings=list(ENDINGS))
    kind = source.format if source.format != "auto" else _FORMATS.get(ending, "")
    if not kind:
        raise InputError("data_format_unknown", path=str(path), known=list(_FORMATS))
    return kind


def _beginning(path: Path) -> bytes:
    """The first bytes, unpacked."""
    try:
        with open_bytes(path) as file:
            return file.read(1000)
    except OSError as error:
        raise InputError("data_unreadable", path=str(path), problem=error.strerror or str(error)) from error


def _shipped(path: str) -> Path:
    task = path.removeprefix(SHIPPED)
    if task not in TASKS:
        raise InputError("data_shipped_unknown", found=task, nearest=nearest(task, TASKS))
    return Path(__file__).with_name("shipped") / f"{task}.jsonl"
