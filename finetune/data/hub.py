"""Data sets of the Hub: streamed through ``datasets``, at a fixed commit, never running code of a repository."""

import json
from collections.abc import Iterator
from typing import Any

from finetune.data.config import Source
from finetune.data.records import Record, parsed
from pipelines.errors import CinquainError, InputError
from pipelines.home import offline_variable

__all__ = ["hub_identity", "hub_records"]


def hub_identity(source: Source) -> dict[str, Any]:
    """What a data set of the Hub is, for the hash of what was read: id, commit, configuration, split.

    Raises:
        InputError: ``data_hub_missing``, or ``data_hub_script`` for one that is a program.
        CinquainError: ``data_hub_offline`` or ``data_hub_failed``.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    name, revision = _name(source)
    if variable := offline_variable():
        raise CinquainError("data_hub_offline", name=name, variable=variable)
    try:
        info = HfApi().dataset_info(name, revision=revision)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise InputError("data_hub_missing", name=name, revision=revision or "main") from error
    except (HfHubHTTPError, OSError) as error:
        raise CinquainError("data_hub_failed", name=name, problem=str(error).splitlines()[0]) from error
    files = {sibling.rfilename for sibling in info.siblings or []}
    if f"{name.rpartition('/')[2]}.py" in files:
        raise InputError("data_hub_script", name=name)
    return {"id": name, "revision": info.sha, "subset": source.subset, "split": source.hub_split}


def hub_records(name: str, source: Source) -> Iterator[Record]:
    """The rows of a data set, streamed.

    Raises:
        InputError: ``data_hub_unreadable``: there is no such configuration or split, or its files cannot be read.
    """
    import datasets

    where, revision = _name(source)
    try:
        rows = datasets.load_dataset(where, source.subset, split=source.hub_split, revision=revision, streaming=True)
        for number, data in enumerate(rows, 1):
            record = parsed(f"{name}:{number}", json.dumps(data, default=str).encode())
            assert record is not None
            yield record
    except (ValueError, OSError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise InputError("data_hub_unreadable", name=where, problem=str(error).splitlines()[0][:300]) from error


def _name(source: Source) -> tuple[str, str | None]:
    name, _, revision = source.path.removeprefix("hub:").partition("@")
    return name, revision or None
