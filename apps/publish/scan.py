"""Nothing leaves this machine that names it or opens something: keys and paths in the staged files."""

import re
from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import InputError

__all__ = ["refuse_private"]

# Forms that their makers documented so that scanners find them; a key of no known form cannot be told from a hash.
_KEYS = re.compile(
    r"\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}|\bglpat-[A-Za-z0-9_-]{20}|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s:@]+:[^/\s:@]+@"
)


def refuse_private(folder: Path, values: dict[str, str]) -> None:
    """Read every file of a folder.

    Args:
        folder: What would be uploaded.
        values: Secrets that will be set on the Space, by their names: their values may stand in no file.

    Raises:
        InputError: ``publish_private_text`` with file and line, ``publish_file`` for one that has no place in a Space.
    """
    paths = [str(path) for path in (Path.home(), Path.cwd(), folder.resolve()) if path != Path("/")]
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise InputError("publish_file", path=str(path.relative_to(folder)))
        if path.is_file():
            for line, kind in _found(path.read_bytes().decode("utf-8", "replace"), paths, values):
                raise InputError("publish_private_text", path=str(path.relative_to(folder)), line=line, found=kind)


def _found(text: str, paths: list[str], values: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Lines with what may not be told, and its kind; never the thing itself."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _KEYS.search(line):
            yield number, f"{match[0][:4]}…"
        for path in paths:
            if re.search(rf"{re.escape(path)}(?![\w.-])", line):
                yield number, path
        for name, value in values.items():
            if len(value) >= 8 and value in line:
                yield number, name
