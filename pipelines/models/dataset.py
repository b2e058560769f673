"""Data sets of the Hub: at a fixed commit, streamed through ``datasets``, never running code of a repository."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import CinquainError, InputError
from pipelines.home import offline_variable

__all__ = ["dataset_commit", "dataset_rows"]


def dataset_commit(name: str, revision: str | None = None) -> str:
    """The commit that a revision of a data set is now.

    Args:
        name: ``org/name``.
        revision: Branch, tag or commit; the main branch where None.

    Raises:
        InputError: ``data_hub_missing``; ``data_hub_script`` for one that is a program; ``data_hub_local`` where a
            folder would be taken for it.
        CinquainError: ``data_hub_offline`` or ``data_hub_failed``.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    if variable := offline_variable():
        raise CinquainError("data_hub_offline", name=name, variable=variable)
    if Path(name).exists():  # ``datasets`` prefers it to the Hub, whatever the revision
        raise InputError("data_hub_local", name=name)
    try:
        info = HfApi().dataset_info(name, revision=revision)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise InputError("data_hub_missing", name=name, revision=revision or "main") from error
    except Exception as error:  # the library's own, and those of whatever it asks servers with
        raise CinquainError("data_hub_failed", name=name, problem=_first_line(error)) from error
    files = {sibling.rfilename for sibling in info.siblings or []}
    if f"{name.rpartition('/')[2]}.py" in files:
        raise InputError("data_hub_script", name=name)
    return str(info.sha)


def dataset_rows(name: str, revision: str | None, subset: str | None, split: str) -> Iterator[Mapping[str, Any]]:
    """The rows of a data set, streamed; images and sounds in them stay as they are stored.

    Raises:
        InputError: ``data_hub_unreadable``: there is no such configuration or split, or its files cannot be read.
    """
    import datasets

    try:
        rows = datasets.load_dataset(name, subset, split=split, revision=revision, streaming=True)
        yield from rows.decode(False)
    except GeneratorExit:
        raise
    except Exception as error:  # of a dozen libraries that read files and servers
        raise InputError("data_hub_unreadable", name=name, problem=_first_line(error)) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")
