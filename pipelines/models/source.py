"""Where a model's files are: what a reference resolves to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.generation import Note

__all__ = ["ModelSource"]


@dataclass(frozen=True)
class ModelSource:
    """A model that is ready to be loaded by transformers.

    Attributes:
        reference: The reference as it was given.
        kind: ``folder`` (safetensors, the embedded model too), ``gguf`` (one file) or ``hub`` (loaded by id).
        path: Folder or file on disk; for ``hub`` None.
        hub_id: ``org/name`` of a model of the Hub, else None.
        revision: Its commit; for ``hub`` the revision that was given.
        sha256: Hash of the weights where it is known without reading them all again, else None.
        chosen: Why ``auto`` took this one; None where a person named it.
    """

    reference: str
    kind: Literal["folder", "gguf", "hub"]
    path: Path | None = None
    hub_id: str | None = None
    revision: str | None = None
    sha256: str | None = None
    chosen: Note | None = None

    def arguments(self) -> dict[str, Any]:
        """Arguments of ``from_pretrained`` for the model and its tokenizer. Remote code is never allowed."""
        if self.kind == "hub":
            where: dict[str, Any] = {"pretrained_model_name_or_path": self.hub_id, "revision": self.revision}
        elif self.kind == "gguf":
            assert self.path is not None
            where = {"pretrained_model_name_or_path": str(self.path.parent), "gguf_file": self.path.name}
        else:
            where = {"pretrained_model_name_or_path": str(self.path), "local_files_only": True}
        return {**where, "trust_remote_code": False}
