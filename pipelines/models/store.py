"""The models of this machine and of the catalog: list, show, pull, remove."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pipelines.engines.device import DeviceChoice
from pipelines.errors import CinquainError, InputError
from pipelines.generation import Note
from pipelines.models.catalog import ALL_TASKS, Machine, entries, find, fits, machine, memory_bytes
from pipelines.models.embedded import EMBEDDED, Embedded, damage, ensure, folder_of
from pipelines.models.embedded import remove as remove_embedded
from pipelines.models.hub.cache import cache_folder, cached_hub_models, remove_hub, snapshot_folder
from pipelines.models.hub.errors import close_names
from pipelines.models.hub.pins import pins_of
from pipelines.models.hub.resolving import HubReference, resolve_hub, whole_here
from pipelines.models.progress import Progress
from pipelines.models.reference import hub_reference, known_models

__all__ = ["ModelInfo", "list_catalog", "list_models", "pull", "remove", "show"]


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without loading it.

    Attributes:
        name: Its reference.
        kind: ``embedded``, ``catalog``, or ``hub`` for what else the Hugging Face cache holds.
        path: Where it is; for one that is not cached, where it will be.
        cached: Whether it can be loaded without the network.
        sha256: Hash of its GGUF, where known.
        licence: SPDX name, where known.
        languages: BCP-47 tags, where known.
        size_bytes: Bytes on disk; for one that is not cached, what it will take.
        download_bytes: Bytes to fetch, 0 when cached.
        limits: What not to expect of it.
        hub_id: ``org/name`` of a model of the Hub.
        revision: The commit that a reference to it means, where that is settled.
        pinned: What settled it: ``catalog``, or when it was first used here (ISO 8601).
        tasks: What it is for, where known.
        parameters: How many numbers it stores, where known.
        memory: Bytes it takes while it runs, about, by number format.
        context_length: Tokens that it was trained on, where known.
        fits: Whether it fits this machine as it is now, where known.
    """

    name: str
    kind: Literal["embedded", "catalog", "hub"]
    path: Path
    cached: bool
    sha256: str | None
    licence: str | None
    languages: tuple[str, ...]
    size_bytes: int
    download_bytes: int = 0
    limits: tuple[Note, ...] = ()
    hub_id: str | None = None
    revision: str | None = None
    pinned: str | None = None
    tasks: tuple[str, ...] = ()
    parameters: int | None = None
    memory: dict[str, int] | None = None
    context_length: int | None = None
    fits: bool | None = None


def list_models() -> list[ModelInfo]:
    """What is on this machine: the embedded models, cached or not, and the Hub models in the cache."""
    hub = (HubReference.parse(name) for name in cached_hub_models())
    here = machine()
    return [_info(model) for model in EMBEDDED.values()] + [_hub_info(each, here) for each in hub if each]


def list_catalog(task: str | None = None) -> list[ModelInfo]:
    """What the catalog suggests, cached or not; only models for one task where that is given.

    Raises:
        InputError: ``task_unknown``.
    """
    if task and task not in ALL_TASKS:
        raise InputError("task_unknown", found=task, nearest=close_names(task, list(ALL_TASKS)))
    here = machine()
    found = (hub_reference(alias) for alias, entry in entries().items() if task is None or task in entry.tasks)
    return [_hub_info(reference, here) for reference in found if reference]


def show(name: str) -> ModelInfo:
    """One model: embedded, of the catalog (by alias or Hub id), or in the cache of the Hub.

    Raises:
        InputError: ``model_not_listed``.
    """
    if name in EMBEDDED:
        return _info(EMBEDDED[name])
    reference = hub_reference(name)
    known = reference and (find(reference.hub_id) or reference.hub_id in cached_hub_models())
    if reference and (known or pins_of(reference.hub_id)):
        return _hub_info(reference, machine())
    raise InputError("model_not_listed", found=name, nearest=close_names(name, known_models()))


def pull(name: str, *, source: Path | None = None, update: bool = False, progress: Progress | None = None) -> ModelInfo:
    """Fetch a model, or repair it; nothing happens when it is whole.

    Args:
        name: An alias, or ``org/name[@revision][:file.gguf]``.
        source: A wheel or GGUF to take instead of fetching an embedded model.
        update: Take the newest commit of a Hub model's branch, and pin that one.
        progress: Shows what goes on; quiet where None.

    Raises:
        InputError: An unknown name, a wrong file, a model that is refused.
        CinquainError: It cannot be fetched; no space; no permission.
    """
    progress = progress or Progress(quiet=True)
    if name in EMBEDDED:
        ensure(EMBEDDED[name], source=source, progress=progress, gguf_too=True)
        return _info(EMBEDDED[name])
    reference = hub_reference(name)
    if reference is None:
        raise InputError("model_not_listed", found=name, nearest=close_names(name, known_models()))
    if source is not None:
        raise InputError("hub_no_file_to_take", model=name)
    entry = find(name)
    if update and entry and entry.revision:
        raise InputError("hub_pinned_in_catalog", model=entry.hub_id)
    resolve_hub(reference, known_models(), progress=progress, update=update)
    return _hub_info(reference, machine())


def remove(name: str, *, progress: Progress | None = None) -> int:
    """Delete a model from its cache, all revisions of it; returns the bytes that were freed.

    Raises:
        InputError: An unknown name, or one that is not in the cache.
    """
    if name in EMBEDDED:
        freed, path = remove_embedded(EMBEDDED[name]), folder_of(EMBEDDED[name])
    elif reference := hub_reference(name):
        freed, path = remove_hub(reference.hub_id, progress or Progress(quiet=True)), cache_folder()
    else:
        raise InputError("model_not_listed", found=name, nearest=close_names(name, known_models()))
    if not freed:
        raise InputError("model_not_cached", name=name, path=str(path))
    return freed


def _info(model: Embedded) -> ModelInfo:
    folder = folder_of(model)
    try:
        cached = not damage(model)
    except (CinquainError, OSError):  # a cache that cannot be read: `doctor` says why, a list still lists
        cached = False
    return ModelInfo(
        name=model.name,
        kind="embedded",
        path=folder,
        cached=cached,
        sha256=model.sha256,
        licence=model.licence,
        languages=model.languages,
        size_bytes=_size(folder) if cached else model.size + model.converted_size,
        download_bytes=0 if cached else model.wheel_size,
        limits=tuple(Note(code) for code in model.limits),
        tasks=ALL_TASKS,
    )


def _hub_info(reference: HubReference, here: Machine) -> ModelInfo:
    """What is known of a Hub model: from the catalog, from its pins, from the cache; nobody is asked."""
    entry = find(reference.hub_id)
    try:
        pin = pins_of(reference.hub_id).get(reference.asked)
    except CinquainError:  # using the model says what is wrong with it; a list still lists
        pin = None
    folder = cached_hub_models().get(reference.hub_id)
    by_catalog = entry is not None and entry.revision == reference.revision
    # A model that another program fetched has no pin here: that it is there is all that can be told at a glance.
    cached = whole_here(reference) is not None if pin else folder is not None
    commit = pin.commit if pin else (reference.revision if by_catalog else None)
    info = ModelInfo(
        name=reference.given,
        kind="catalog" if entry else "hub",
        path=snapshot_folder(reference.hub_id, commit) if commit else folder or cache_folder(),
        cached=cached,
        sha256=None,
        licence=entry.licence if entry else None,
        languages=entry.languages if entry else (),
        size_bytes=_size(folder) if folder and cached else (entry.size_bytes if entry else 0),
        hub_id=reference.hub_id,
        revision=commit,
        pinned="catalog" if by_catalog else pin.since if pin else None,
    )
    if entry is None:
        return info
    return replace(
        info,
        download_bytes=0 if cached else entry.size_bytes,
        tasks=entry.tasks,
        parameters=entry.parameters,
        memory={dtype: memory_bytes(entry, _on_cpu(dtype)) for dtype in ("bfloat16", "float32")},
        context_length=entry.context_length,
        fits=fits(entry, here),
    )


def _on_cpu(dtype: str) -> DeviceChoice:
    return DeviceChoice("cpu", dtype, False, Note("dtype_asked", {"dtype": dtype}))


def _size(folder: Path) -> int:
    """Bytes of the files; a Hub snapshot links to its blobs, which count once."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
