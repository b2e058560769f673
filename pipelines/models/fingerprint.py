"""What an adapter was trained on and with: the file ``cinquain_adapter.json`` beside ``adapter_config.json``.

Fine-tuning writes it and serving keeps to it: the base model's hash, the whole prompt and the whole chat template. A
better prompt of tomorrow therefore spoils no adapter of today, and an adapter on another base is an error. A model that
an adapter was merged into carries the same account as ``cinquain_merged.json``.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import CinquainError, InputError
from pipelines.home import disk_errors, home, write_atomically
from pipelines.models.embedded import EMBEDDED, folder_of
from pipelines.models.folders import weight_files
from pipelines.models.source import ModelSource
from pipelines.prompts import Prompt

__all__ = [
    "FILE_NAME",
    "MERGED_FILE_NAME",
    "BaseReference",
    "Fingerprint",
    "file_sha256",
    "read",
    "snapshot",
    "weights_sha256",
    "write",
]

FILE_NAME = "cinquain_adapter.json"
MERGED_FILE_NAME = "cinquain_merged.json"
SCHEMA_VERSION = 1
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_SIZE_LIMIT = 16_000_000
"""Bytes that a fingerprint may have. A prompt with all of its examples takes some kilobytes; adapters come from
strangers, and a file of gigabytes must not fill the memory."""


class BaseReference(BaseModel):
    """The model that an adapter was trained on.

    Attributes:
        reference: Model reference, for the person who has to find it again.
        sha256: Hash of its weights, see ``weights_sha256``.
        revision: Revision of the Hub, where one was given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: str
    sha256: Sha256
    revision: str | None = None


class Fingerprint(BaseModel):
    """Everything that decides whether an adapter is used as it was trained.

    Attributes:
        schema_version: Version of this file format.
        base: The base model.
        task: The task that it was trained for.
        prompt: The whole prompt that it was trained with.
        chat_template: Source of the chat template that it was trained with ("" for models without one).
        prompt_sha256: ``prompt.digest(chat_template)`` as it was when it was written.
        data_sha256: Hash of the ledger of its training rows, where there was one.
        versions: Packages that trained it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA_VERSION
    base: BaseReference
    task: str
    prompt: Prompt
    chat_template: str
    prompt_sha256: Sha256
    data_sha256: Sha256 | None = None
    versions: dict[str, str] = {}

    def stored_prompt(self, name: str, task: str, override: Prompt | None) -> Prompt | None:
        """The prompt that serves a task; None for another task than the one it was trained for.

        Args:
            name: How the sentence calls the adapter or the model.
            task: What is asked.
            override: The prompt that a person asked for, if any.

        Raises:
            InputError: ``prompt_differs`` where another one was asked for.
        """
        if self.task != task:
            return None
        if override and override.digest(self.chat_template) != self.prompt.digest(self.chat_template):
            raise InputError(
                "prompt_differs",
                adapter=name,
                task=task,
                stored_sha256=self.prompt.digest(self.chat_template),
                given_sha256=override.digest(self.chat_template),
            )
        return self.prompt


def read(folder: Path, name: str = FILE_NAME) -> Fingerprint | None:
    """The fingerprint of an adapter, or of a merged model; None for one that was made elsewhere.

    Raises:
        InputError: ``fingerprint_broken``, or ``fingerprint_newer`` for a format that a later version wrote.
    """
    path = folder / name
    try:
        if not path.is_file():
            return None
        if (size := path.stat().st_size) > _SIZE_LIMIT:
            raise InputError("fingerprint_broken", path=str(path), problem=f"it has {size} bytes")
        data = json.loads(path.read_bytes())
        version = data.get("schema_version", 0) if isinstance(data, dict) else 0
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise InputError("fingerprint_newer", path=str(path), found=version, known=SCHEMA_VERSION)
        return Fingerprint.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problem = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
        raise InputError("fingerprint_broken", path=str(path), problem=problem) from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, brackets nested without end
        raise InputError("fingerprint_broken", path=str(path), problem=f"it is not JSON: {error}") from error
    except OSError as error:
        raise InputError("fingerprint_broken", path=str(path), problem=error.strerror or str(error)) from error


def write(folder: Path, fingerprint: Fingerprint, name: str = FILE_NAME) -> Path:
    """Write a fingerprint into the folder of an adapter or a merged model, whole or not at all; returns the file.

    Raises:
        CinquainError: The disk is full or refuses.
    """
    path = folder / name
    write_atomically(path, fingerprint.model_dump_json(indent=2) + "\n")
    return path


def weights_sha256(source: ModelSource) -> str:
    """SHA-256 over the bytes of a model's weight files, the shards in the order of their names.

    Reading 14 GB takes longer than loading them, so the hash is remembered in ``$CINQUAIN_HOME/hashes`` for as long as
    path, size and modification time of every file stay what they were.

    Raises:
        CinquainError: The files cannot be read, or are not here (a Hub model that was not loaded yet).
    """
    if source.sha256:
        return source.sha256
    path = source.path or snapshot(source)
    with disk_errors(path):
        for model in EMBEDDED.values():  # named by its folder, it is the same model
            if path.resolve() == folder_of(model).resolve():
                return model.sha256
        files = [path] if path.is_file() else [path / name for name in weight_files(path)]
        state = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        memory = home() / "hashes" / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()}.json"
        known = _remembered(memory)
        if known.get("files") == state:
            return str(known["sha256"])
        digest = hashlib.sha256()
        for file in files:
            _feed(digest, file)
        found = digest.hexdigest()
        if state == [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]:
            # Written by rename: two processes write the same. A cache that cannot be written costs time only.
            with suppress(CinquainError):
                write_atomically(memory, json.dumps({"schema_version": 1, "sha256": found, "files": state}))
    return found


def file_sha256(path: Path) -> str:
    """SHA-256 of one file."""
    with disk_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _feed(digest: Any, path: Path) -> None:
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)


def _remembered(memory: Path) -> dict[str, Any]:
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}  # nothing remembered, or nothing that can be used: the files are read again
    return known if isinstance(known, dict) and isinstance(known.get("sha256"), str) else {}


def snapshot(source: ModelSource) -> Path:
    """The folder of a Hub model in the Hub's cache.

    Raises:
        CinquainError: ``fingerprint_no_weights`` where it was not loaded yet.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    assert source.hub_id is not None
    try:
        return Path(snapshot_download(source.hub_id, revision=source.revision, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise CinquainError("fingerprint_no_weights", reference=source.reference) from error
