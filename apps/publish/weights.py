"""Which weights a Space serves, and which of them must go to the Hub with it.

A Space finds its model on the Hub. What is there already is named with its commit. What is not, goes there as a
repository of its own beside the Space: an adapter of a Hub model as adapter, everything else as a model; an adapter of
the embedded model is merged first, because its base is not the file that the Hub has under that name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune.merging import REPORT
from finetune.pushing import MODEL_FILES, public_files
from pipelines.errors import CinquainError, InputError
from pipelines.home import home, offline_variable
from pipelines.models import resolve, resolve_adapter
from pipelines.models.embedded import EMBEDDED
from pipelines.models.fingerprint import file_sha256, read
from pipelines.models.hub.errors import explain
from pipelines.models.hub.files import look_up, model_files
from pipelines.models.hub.resolving import HubReference
from pipelines.models.progress import Progress
from pipelines.models.reference import hub_reference

__all__ = ["Upload", "Weights", "find_weights"]

_CARD = """---
license: {license}
library_name: transformers
tags:
  - cinquain
{base}---

# {title}

{about}
"""


@dataclass(frozen=True)
class Upload:
    """Weights that go to the Hub.

    Attributes:
        repository: ``user/name``.
        files: Content by name.
        adapter: Whether it is an adapter.
    """

    repository: str
    files: Mapping[str, Path | bytes]
    adapter: bool = False

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(each.stat().st_size if isinstance(each, Path) else len(each) for each in self.files.values())


@dataclass(frozen=True)
class Weights:
    """What a Space serves.

    Attributes:
        model: Reference of the model on this machine.
        adapter: Folder of the adapter on this machine.
        hub_model: The model as the Space names it; None where it is the repository of ``upload``.
        upload: What goes to the Hub first.
        bytes: Size of the weights, where it is known.
    """

    model: str
    adapter: str | None
    hub_model: str | None
    upload: Upload | None
    bytes: int | None

    def references(self, commit: str) -> dict[str, str | None]:
        """``model`` and ``adapter`` of ``space.json``.

        Args:
            commit: That of ``upload``; ``main`` before there is one.
        """
        if self.upload is None:
            return {"model": self.hub_model, "adapter": None}
        pushed = f"{self.upload.repository}@{commit}"
        return {"model": self.hub_model or pushed, "adapter": pushed if self.upload.adapter else None}


def find_weights(model: str, adapter: str | None, to: str, progress: Progress, *, fetch: bool = True) -> Weights:
    """Decide what goes where; nothing is sent, and only a merge is computed.

    Args:
        model: Model reference.
        adapter: Folder or name of an adapter.
        to: ``user/name`` of the Space.
        progress: Shows a merge.
        fetch: Whether a model of the Hub is brought to this machine, to be tried.

    Raises:
        InputError: An unknown model or adapter; ``publish_gguf``: a GGUF file; ``push_gate``: an adapter whose merge
            fails its gate.
        CinquainError: The Hub cannot be reached.
    """
    if model == "scripted" or "://" in model:
        return Weights(model, None, model, None, None)
    if adapter is not None:
        return _with_adapter(model, resolve_adapter(adapter), to, progress)
    if not fetch and model not in EMBEDDED and (hub := hub_reference(model)):
        return _unfetched(hub)
    source = resolve(model)
    if source.kind == "gguf":
        raise InputError("publish_gguf", model=model)
    if source.hub_id:
        size = _bytes(source.path) if source.path else None
        return Weights(source.reference, None, f"{source.hub_id}@{source.revision or 'main'}", None, size)
    assert source.path is not None
    upload = Upload(f"{to}-model", _model_files(source.path, model, to))
    return Weights(model, None, None, upload, upload.bytes)


def _unfetched(hub: HubReference) -> Weights:
    """A model of the Hub at its newest commit, if it is one that can be served."""
    if variable := offline_variable():
        raise CinquainError("model_hub_offline", reference=hub.given, variable=variable, nearest=[])
    try:
        listing = look_up(hub.hub_id, hub.revision)
        model_files(hub.hub_id, listing)
    except Exception as error:
        raise explain(error, hub.hub_id, hub.revision, []) from error
    size = sum(size for name, size in listing.files.items() if name.endswith(".safetensors"))
    return Weights(hub.given, None, f"{hub.hub_id}@{listing.commit}", None, size if size > 0 else None)


def _with_adapter(model: str, folder: Path, to: str, progress: Progress) -> Weights:
    fingerprint = read(folder)
    base = fingerprint.base.reference if fingerprint else model
    if fingerprint and (hub := hub_reference(base)) and base not in EMBEDDED:
        files = public_files(folder)
        name = f"{hub.hub_id}@{fingerprint.base.revision or hub.revision}"
        return Weights(base, str(folder), name, Upload(f"{to}-adapter", files, adapter=True), _bytes(folder))
    merged = _merged(folder, progress)
    upload = Upload(f"{to}-model", public_files(merged))
    return Weights(str(merged), None, None, upload, upload.bytes)


def _merged(adapter: Path, progress: Progress) -> Path:
    """The merged model, kept for the next time."""
    from finetune.merging import comparison_rows, merge

    place = home() / "publish" / "merged" / file_sha256(adapter / "adapter_model.safetensors")[:16]
    if not place.is_dir():
        merge(adapter, place, comparison_rows(adapter), progress=progress)
    return place


def _model_files(folder: Path, reference: str, to: str) -> dict[str, Path | bytes]:
    """What of a model's folder serves it, with a card where it has none."""
    if (folder / REPORT).is_file():
        return public_files(folder)
    found = [path for pattern in MODEL_FILES for path in sorted(folder.glob(pattern))]
    files: dict[str, Path | bytes] = {path.name: path for path in found}
    if "README.md" not in files:
        files["README.md"] = _card(reference, to).encode()
    return files


def _card(reference: str, to: str) -> str:
    if embedded := EMBEDDED.get(reference):
        return _CARD.format(
            license=embedded.licence.lower(),
            base=f"base_model: {embedded.origin}\n",
            title=f"Weights of {to}",
            about=f"{embedded.origin}, dequantised from a Q4_1 GGUF file: close to the original and not the same, so "
            "adapters of one do not fit the other.",
        )
    return _CARD.format(
        license="other", base="", title=f"Weights of {to}", about="Published with the Space of that name."
    )


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
