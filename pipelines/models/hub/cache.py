"""The Hub's cache on this disk, which other programs share: what is in it, and how a model leaves it."""

import os
from contextlib import suppress
from pathlib import Path

from pipelines.errors import CinquainError
from pipelines.home import disk_errors, megabytes, write_atomically
from pipelines.models.hub.pins import forget, locked
from pipelines.models.progress import Progress

__all__ = [
    "cache_folder",
    "cached_hub_models",
    "drop",
    "name_commit",
    "remove_hub",
    "snapshot_folder",
    "sweep",
]


def cache_folder() -> Path:
    """The Hub's cache, which other programs share."""
    hub_home = Path(os.environ.get("HF_HOME") or Path("~/.cache/huggingface"))
    return Path(os.environ.get("HF_HUB_CACHE") or hub_home / "hub").expanduser().absolute()


def cached_hub_models() -> dict[str, Path]:
    """Models of the Hub that are in its cache: id → folder. Only looks at names of folders and files."""
    found = {}
    for path in sorted(cache_folder().glob("models--*--*")):
        if any(any((path / "snapshots").glob(f"*/{name}")) for name in ("config.json", "*.gguf")):
            found[path.name.removeprefix("models--").replace("--", "/", 1)] = path
    return found


def remove_hub(hub_id: str, progress: Progress) -> int:
    """Delete a model from the Hub's cache, with its pins; returns the bytes that are freed."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    with locked(hub_id, progress), disk_errors(cache_folder()):
        forget(hub_id)
        sweep(hub_id)
        try:
            report = scan_cache_dir(cache_folder())
        except CacheNotFound:
            return 0
        commits = [
            revision.commit_hash
            for repo in report.repos
            if (repo.repo_type, repo.repo_id) == ("model", hub_id)
            for revision in repo.revisions
        ]
        if not commits:
            return 0
        strategy = report.delete_revisions(*commits)
        progress.say("hub_removing", model=hub_id, size=megabytes(strategy.expected_freed_size))
        strategy.execute()
        return int(strategy.expected_freed_size)


def sweep(hub_id: str) -> None:
    """Remove what killed downloads left: the library names each ``<etag>.<random>.incomplete`` and never takes it up.

    The library's own lock of that file tells whether a download is alive.
    """
    from filelock import FileLock, Timeout

    name = _folder_name(hub_id)
    for path in (cache_folder() / name / "blobs").glob("*.incomplete"):
        lock = cache_folder() / ".locks" / name / f"{path.name.split('.')[0]}.lock"
        with suppress(Timeout, OSError), FileLock(lock).acquire(blocking=False):
            path.unlink(missing_ok=True)


def drop(path: Path) -> None:
    """Remove a cut file of a snapshot, with the blob behind it: the library takes whatever exists for whole."""
    if path.is_symlink():
        (path.parent / path.readlink()).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def name_commit(hub_id: str, revision: str, commit: str) -> None:
    """Note that a branch or tag is at a commit, as the library does: `hf cache prune` deletes what has no name."""
    path = cache_folder() / _folder_name(hub_id) / "refs" / revision
    with suppress(OSError, CinquainError):  # a cache that can only be read is as good
        if not path.is_file() or path.read_text(encoding="utf-8") != commit:
            write_atomically(path, commit)


def snapshot_folder(hub_id: str, commit: str) -> Path:
    """Where the files of a commit are, or will be."""
    return cache_folder() / _folder_name(hub_id) / "snapshots" / commit


def _folder_name(hub_id: str) -> str:
    return f"models--{hub_id.replace('/', '--')}"
