"""Data sets of the Hub as sources of rows."""

from collections.abc import Iterator
from typing import Any

from finetune.data.config import Source
from finetune.data.parquet import as_json
from finetune.data.records import Record, taken
from pipelines.models.dataset import dataset_commit, dataset_rows

__all__ = ["hub_identity", "hub_name", "hub_records"]


def hub_name(source: Source) -> tuple[str, str | None]:
    """Id and revision of a data set that is written ``hub:org/name[@revision]``."""
    name, _, revision = source.path.removeprefix("hub:").partition("@")
    return name, revision or None


def hub_identity(source: Source) -> dict[str, Any]:
    """What a data set of the Hub is, for the hash of what was read: id, commit, configuration, split.

    Raises:
        InputError: It is not there, or is a program, or a folder would be taken for it.
        CinquainError: The Hub cannot be asked, or did not answer.
    """
    name, revision = hub_name(source)
    commit = dataset_commit(name, revision)
    return {"id": name, "revision": commit, "subset": source.subset, "split": source.hub_split}


def hub_records(name: str, source: Source) -> Iterator[Record]:
    """The rows of a data set, streamed; images and sounds in them stay as they are stored.

    Raises:
        InputError: There is no such configuration or split, or its files cannot be read.
    """
    where, revision = hub_name(source)
    for number, data in enumerate(dataset_rows(where, revision, source.subset, source.hub_split), 1):
        yield taken(f"{name}:{number}", as_json(data))
