"""Where Cinquain keeps its files, and how it writes them so that a kill or a full disk spoils nothing."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import CinquainError

__all__ = [
    "NO_SPACE",
    "disk_errors",
    "exclusive",
    "home",
    "megabytes",
    "offline_variable",
    "require_space",
    "write_atomically",
]

# EFBIG is what a file size limit of the account (`ulimit -f`) gives, EDQUOT a quota: for a person both are "no space".
# EDQUOT does not exist on Windows.
NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
# ENOTDIR and EEXIST: a regular file lies where a folder of the path should be.
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


def home() -> Path:
    """The folder for models and adapters: ``$CINQUAIN_HOME``, else the cache folder that this system prescribes."""
    if chosen := os.environ.get("CINQUAIN_HOME"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("cinquain")


def offline_variable() -> str | None:
    """The environment variable that forbids network calls, if one is set: its name goes into the error."""
    for name in ("CINQUAIN_OFFLINE", "HF_HUB_OFFLINE"):
        # The values that huggingface_hub reads as true.
        if os.environ.get(name, "").strip().upper() in {"1", "ON", "YES", "TRUE"}:
            return name
    return None


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the system says of a disk into one sentence with a way out; for code that works below ``path``.

    Raises:
        CinquainError: ``disk_full``, ``disk_permission``, or ``disk_failed`` for the rest (a drive that has gone).
    """
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else str(path)
        if error.errno in NO_SPACE:
            raise CinquainError("disk_full", path=where, free=megabytes(_free(path))) from error
        if error.errno in _NO_PERMISSION:
            raise CinquainError("disk_permission", path=where, problem=error.strerror or str(error)) from error
        raise CinquainError("disk_failed", path=where, problem=error.strerror or str(error)) from error


@contextmanager
def exclusive(path: Path, busy: CinquainError) -> Iterator[None]:
    """Keep other processes out while this lasts; the lock of one that was killed is free.

    Args:
        path: The lock file; its folder is made when missing.
        busy: What is raised where another process holds it.

    Raises:
        CinquainError: ``busy``, or what the disk says.
    """
    from filelock import FileLock, Timeout

    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise busy from None
    try:
        yield
    finally:
        lock.release()


def require_space(path: Path, size: int) -> None:
    """Check that the file system of ``path``, which need not exist yet, has room for ``size`` bytes.

    Raises:
        CinquainError: ``disk_space``, with both numbers.
    """
    free = _free(path)
    if free < size:
        raise CinquainError("disk_space", path=str(path), needed=megabytes(size), free=megabytes(free))


def write_atomically(path: Path, data: bytes | str, *, private: bool = False) -> None:
    """Write a file so that a reader, or the next run after a kill, sees the old content or the new, never a part.

    Args:
        path: The file; its folder is made when missing.
        data: The whole content; text is written as UTF-8.
        private: Readable by its owner only (0600), for what may hold other people's text.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if not private:
                temporary.chmod(0o666 & ~_umask())  # mkstemp makes 0600, too narrow for a cache that is shared
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def megabytes(size: int) -> str:
    """A size for a sentence: ``98 MB`` (decimal, as disks are sold and as ``df -H`` shows)."""
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def _free(path: Path) -> int:
    """Free bytes on the file system where ``path`` is or would be."""
    for folder in (path, *path.parents):
        if folder.is_dir():
            return shutil.disk_usage(folder).free
    return 0


def _umask() -> int:
    """The process's umask, which can be read only by setting it."""
    current = os.umask(0o077)
    os.umask(current)
    return current
