"""Data sets of the Hub: streamed through ``datasets``, at a fixed commit, never running code of a repository."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune.data.config import Source
from finetune.data.parquet import as_json
from finetune.data.records import Record, taken
from pipelines.errors import CinquainError, InputError
from pipelines.home import offline_variable

__all__ = ["hub_identity", "hub_name", "hub_records"]


def hub_name(source: Source) -> tuple[str, str | None]:
    """Id and revision of a data set that is written ``hub:org/name[@revision]``."""
    name, _, revision = source.path.removeprefix("hub:").partition("@")
    return name, revision or None


def hub_identity(source: Source) -> dict[str, Any]:
    """What a data set of the Hub is, for the hash of what was read: id, commit, configuration, split.

    Raises:
        InputError: ``data_hub_missing``; ``data_hub_script`` for one that is a program; ``data_hub_local`` where a
            folder would be taken for it.
        CinquainError: ``data_hub_offline`` or ``data_hub_failed``.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    name, revision = hub_name(source)
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
    return {"id": name, "revision": info.sha, "subset": source.subset, "split": source.hub_split}


def hub_records(name: str, source: Source) -> Iterator[Record]:
    """The rows of a data set, streamed; images and sounds in them stay as they are stored.

    Raises:
        InputError: ``data_hub_unreadable``: there is no such configuration or split, or its files cannot be read.
    """
    import datasets

    where, revision = hub_name(source)
    try:
        rows = datasets.load_dataset(where, source.subset, split=source.hub_split, revision=revision, streaming=True)
        for number, data in enumerate(rows.decode(False), 1):
            yield taken(f"{name}:{number}", as_json(data))
    except GeneratorExit:
        raise
    except Exception as error:  # of a dozen libraries that read files and servers
        raise InputError("data_hub_unreadable", name=where, problem=_first_line(error)) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")
