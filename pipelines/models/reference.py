"""What a model reference names: alias, folder, GGUF file or Hub id, checked before anything is loaded."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import CinquainError, InputError, nearest
from pipelines.home import home, offline_variable
from pipelines.models.conversion import check_gguf
from pipelines.models.embedded import EMBEDDED, ensure
from pipelines.models.folders import PICKLE_SUFFIXES, check_adapter, check_folder
from pipelines.models.progress import Progress
from pipelines.models.source import ModelSource

__all__ = ["cached_hub_models", "resolve", "resolve_adapter"]

# The rule of huggingface_hub.utils.validate_repo_id, which importing that package for would cost 0.3 s.
_HUB_ID = re.compile(r"(?P<id>[\w][\w.-]{0,95}/[\w][\w.-]{0,95})(?:@(?P<revision>[\w][\w./-]*))?", re.ASCII)

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)


def resolve(reference: str, *, quiet: bool = False) -> ModelSource:
    """Find the model that a reference names; the embedded one is fetched when it is not there yet.

    Args:
        reference: ``smollm2-135m``, a folder, ``file.gguf``, or ``org/name[@revision]``.
        quiet: Show no progress on standard error.

    Raises:
        InputError: Nothing has that name (with the nearest names), or it is not a whole and safe model.
        CinquainError: It is known and cannot be had: offline, no space, no permission.
    """
    reference = reference.strip()
    if model := EMBEDDED.get(reference):
        folder = ensure(model, progress=Progress(quiet=quiet))
        return ModelSource(reference, "folder", folder, sha256=model.sha256)
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
    hub = _HUB_ID.fullmatch(reference)
    # `models/mine` where a folder `models` is: a path with a typing error, not somebody's Hub id.
    if hub is None or Path(reference).parts[0] in {".", "..", "~"} or Path(reference).parent.is_dir():
        raise InputError("model_unknown", found=reference, nearest=nearest(reference, _known_models(reference)))
    return _resolve_hub(reference, hub["id"], hub["revision"])


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


def cached_hub_models() -> dict[str, Path]:
    """Models of the Hub that are in its cache: id → folder. Only looks at folder names."""
    hub_home = Path(os.environ.get("HF_HOME") or Path("~/.cache/huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE") or hub_home / "hub").expanduser()
    found = {}
    for path in sorted(cache.glob("models--*--*")):
        if any((path / "snapshots").glob("*/config.json")):
            found[path.name.removeprefix("models--").replace("--", "/", 1)] = path
    return found


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


def _resolve_hub(reference: str, hub_id: str, revision: str | None) -> ModelSource:
    """A Hub id. Online it is transformers that loads it; offline it must be in the cache, as a whole."""
    variable = offline_variable()
    if variable is None:
        return ModelSource(reference, "hub", hub_id=hub_id, revision=revision)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(hub_id, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        known = nearest(reference, _known_models(reference))
        raise CinquainError("model_hub_offline", reference=reference, variable=variable, nearest=known) from None
    with _readable(reference):
        check_folder(folder, reference)
    # The folder, so that no library asks the network when only CINQUAIN_OFFLINE is set, which they do not know.
    return ModelSource(reference, "folder", folder, hub_id=hub_id, revision=revision)


def _known_models(reference: str) -> list[str]:
    return [*EMBEDDED, "scripted", *cached_hub_models(), *_folders_beside(reference, "config.json", "*.gguf")]


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
