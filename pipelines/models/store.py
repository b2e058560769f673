"""The models of this machine: list, show, pull, remove."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.errors import CinquainError, InputError, nearest
from pipelines.generation import Note
from pipelines.models.embedded import EMBEDDED, Embedded, damage, ensure, folder_of
from pipelines.models.embedded import remove as remove_embedded
from pipelines.models.progress import Progress
from pipelines.models.reference import cached_hub_models

__all__ = ["ModelInfo", "list_models", "pull", "remove", "show"]


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without loading it.

    Attributes:
        name: Its reference.
        kind: ``embedded``, or ``hub`` for what the Hugging Face cache holds.
        path: Where it is; for one that is not cached, where it will be.
        cached: Whether it can be loaded without the network.
        sha256: Hash of its GGUF, where known.
        licence: SPDX name, where known.
        languages: BCP-47 tags, where known.
        size_bytes: Bytes on disk; for one that is not cached, what it will take.
        download_bytes: Bytes to fetch, 0 when cached.
        limits: What not to expect of it.
    """

    name: str
    kind: Literal["embedded", "hub"]
    path: Path
    cached: bool
    sha256: str | None
    licence: str | None
    languages: tuple[str, ...]
    size_bytes: int
    download_bytes: int = 0
    limits: tuple[Note, ...] = ()


def list_models() -> list[ModelInfo]:
    """The embedded models, cached or not, and the Hub models in the cache."""
    hub = [
        ModelInfo(name, "hub", path, True, None, None, (), _size(path)) for name, path in cached_hub_models().items()
    ]
    return [_info(model) for model in EMBEDDED.values()] + hub


def show(name: str) -> ModelInfo:
    """One of ``list_models``.

    Raises:
        InputError: ``model_not_listed``.
    """
    models = {model.name: model for model in list_models()}
    if name not in models:
        raise InputError("model_not_listed", found=name, nearest=nearest(name, models))
    return models[name]


def pull(name: str, *, source: Path | None = None, progress: Progress | None = None) -> ModelInfo:
    """Fetch an embedded model, or repair it; nothing happens when it is whole.

    Args:
        name: Its alias.
        source: A wheel or GGUF to take instead of fetching one.
        progress: Shows what goes on; quiet where None.

    Raises:
        InputError: An unknown name, or a wrong file.
        CinquainError: It cannot be fetched; no space; no permission.
    """
    model = _embedded(name, "model_not_pulled")
    ensure(model, source=source, progress=progress or Progress(quiet=True), gguf_too=True)
    return _info(model)


def remove(name: str) -> int:
    """Delete an embedded model from the cache; returns the bytes that were freed.

    Raises:
        InputError: An unknown name, or one that is not in the cache.
    """
    model = _embedded(name, "model_not_removed")
    freed = remove_embedded(model)
    if not freed:
        raise InputError("model_not_cached", name=name, path=str(folder_of(model)))
    return freed


def _embedded(name: str, code_for_hub: str) -> Embedded:
    if name in EMBEDDED:
        return EMBEDDED[name]
    if "/" in name:
        raise InputError(code_for_hub, name=name)
    raise InputError("model_not_listed", found=name, nearest=nearest(name, EMBEDDED))


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
    )


def _size(folder: Path) -> int:
    """Bytes of the files; a Hub snapshot links to its blobs, which count once."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
