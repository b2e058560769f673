"""Compressed files, read with limits: an archive of a few kilobytes must not fill a disk."""

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import IO, Any, cast

from pipelines.errors import InputError

__all__ = ["ARCHIVES", "ENDINGS", "open_bytes", "refuse_bomb"]

ENDINGS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar", ".zst")
"""Endings of what holds several files, or is packed in a way that Python 3.11 does not know."""

_LARGEST_RATIO = 300
"""Text compresses 3 to 20 times, logs of one sentence 100 times, zeros 1,000 times (gzip) and more."""
_FREE = 100_000_000
"""Bytes that are read before the ratio is looked at."""


def open_bytes(path: Path) -> IO[bytes]:
    """The content of a file, unpacked where its ending says that it is packed.

    Raises:
        InputError: While reading: ``data_bomb``, ``data_packed_broken``.
    """
    unpack = ENDINGS.get(path.suffix.lower())
    if unpack is None:
        return path.open("rb")
    return io.BufferedReader(cast(Any, _Limited(cast(Any, unpack)(path, "rb"), path)), 1 << 20)


def refuse_bomb(path: Path, packed: int, unpacked: int) -> None:
    """Stop where far more bytes came out of a file than any text is packed into so few.

    Raises:
        InputError: ``data_bomb``.
    """
    if unpacked > _FREE and unpacked > _LARGEST_RATIO * packed:
        raise InputError("data_bomb", path=str(path), ratio=_LARGEST_RATIO)


class _Limited(io.RawIOBase):
    """A stream that stops where too much comes out of too little."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream, self._path = stream, path
        self._packed, self._read = path.stat().st_size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
            raise InputError("data_packed_broken", path=str(self._path), problem=str(error)) from error
        self._read += len(data)
        refuse_bomb(self._path, self._packed, self._read)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
