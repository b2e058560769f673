"""The adapters of an engine: loaded, listed and unloaded while it runs, and chosen by name for each request."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.engines.adapters.layers import AdapterLayers, Layers
from pipelines.engines.adapters.rows import Rows
from pipelines.errors import InputError
from pipelines.generation import Note
from pipelines.models.fingerprint import FILE_NAME, Fingerprint, file_sha256, read, weights_sha256
from pipelines.models.reference import resolve_adapter
from pipelines.models.source import ModelSource
from pipelines.prompts import Prompt, load_prompt

__all__ = ["BASE", "Adapter", "Adapters", "check_fingerprint"]

BASE = "base"
"""Names the model without an adapter."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """A loaded adapter.

    Attributes:
        name: What requests call it.
        path: Its folder.
        sha256: Hash of its weights.
        fingerprint: What it was trained on and with; None where it was made elsewhere.
        format: How its conversations are written, as the engine makes it for its chat template.
        layers: What it has in the model.
    """

    name: str
    path: Path
    sha256: str
    fingerprint: Fingerprint | None
    format: Any
    layers: Layers

    @property
    def key(self) -> str:
        """What its calls carry: another adapter of the same name, loaded later, must not answer the rest of them."""
        return f"{self.name}@{self.layers.key}"

    @property
    def notes(self) -> tuple[Note, ...]:
        """What a person should know of every answer under it."""
        return () if self.fingerprint else (Note("adapter_without_fingerprint", {"adapter": self.name}),)

    def prompt(self, task: str, override: Prompt | None) -> Prompt | None:
        """The prompt that it was trained with; None for another task, and where it has no fingerprint.

        Raises:
            InputError: ``prompt_differs`` where another one was asked for.
        """
        return self.fingerprint.stored_prompt(self.name, task, override) if self.fingerprint else None

    def provenance(self) -> dict[str, Any]:
        """Name and hash, and the hash of the data that it was trained on where that is known."""
        data = self.fingerprint.data_sha256 if self.fingerprint else None
        return {"adapter": self.name, "adapter_sha256": self.sha256, "adapter_data_sha256": data}


class Adapters:
    """All adapters of one engine.

    Args:
        model: The model in memory.
        source: Where it came from, for the check that an adapter was trained on it.
        lock: Held while the model works; layers come and go between two requests.
        format: Makes the format of conversations for a chat template, or the model's own for None.
        forget: Called with the key of an adapter that has gone, for states that were computed under it.
    """

    def __init__(
        self,
        model: Any,
        source: ModelSource,
        lock: threading.Lock,
        format: Callable[[str | None], Any],  # noqa: A002 - it makes a format
        forget: Callable[[str], None],
    ) -> None:
        self.default: str | None = None
        """Name of the adapter for requests that name none; None is the model alone."""
        self._source = source
        self._lock = lock
        self._format: Any = format
        self._forget = forget
        self._layers: Any = AdapterLayers(model)
        self._loaded: dict[str, Adapter] = {}

    def load(self, path_or_name: str | Path, name: str | None = None) -> str:
        """Load an adapter beside those that are there; returns its name.

        Waits for the request that the model works on.

        Args:
            path_or_name: A PEFT folder, or the name of one below ``$CINQUAIN_HOME/adapters``.
            name: What to call it; the folder's name by default.

        Raises:
            InputError: It is no adapter, or not for this model (``adapter_other_base``, with both hashes), or the name
                is taken.
            CinquainError: Its files, or those of the base model, cannot be read.
        """
        path = resolve_adapter(path_or_name)
        name = path.resolve().name if name is None else name
        self._check_name(name)
        fingerprint = check_fingerprint(path, self._source)
        chat_format = self._format(fingerprint.chat_template if fingerprint else None)
        sha256 = file_sha256(path / "adapter_model.safetensors")
        with self._lock:
            self._check_name(name)
            self._loaded[name] = Adapter(name, path, sha256, fingerprint, chat_format, self._layers.add(path))
        return name

    def unload(self, name: str) -> None:
        """Free an adapter's memory, once the request that the model works on is done.

        Requests that wait for it get ``adapter_unloaded``. Without its default adapter the engine answers as its base.

        Raises:
            InputError: ``adapter_not_loaded``.
        """
        with self._lock:
            adapter = self.get(name)
            self._layers.remove(adapter.layers)
            self._forget(adapter.key)
            del self._loaded[adapter.name]
            if self.default == adapter.name:
                self.default = None

    def get(self, name: str) -> Adapter:
        """The adapter of this name.

        Raises:
            InputError: ``adapter_not_loaded``, with the names that are.
        """
        if name not in self._loaded:
            raise InputError("adapter_not_loaded", adapter=name, loaded=self._names())
        return self._loaded[name]

    def of(self, key: str | None) -> Adapter | None:
        """The adapter that a call carries, by its key or its name; None for the base model.

        Raises:
            InputError: ``adapter_unloaded``.
        """
        if key is None or key == BASE:
            return None
        name, at, _ = key.partition("@")
        adapter = self._loaded.get(name)
        if adapter is None or (at and adapter.key != key):
            raise InputError("adapter_unloaded", adapter=name, loaded=self._names())
        return adapter

    def mixable(self, key: str | None) -> bool:
        """Whether rows under an adapter may share a batch with rows of the base model and of other adapters.

        Raises:
            InputError: ``adapter_unloaded``.
        """
        adapter = self.of(key)
        return adapter is None or adapter.layers.mixable

    @contextmanager
    def serving(self, keys: Sequence[str | None]) -> Iterator[Rows]:
        """Have each row of a batch answered by its own adapter; the engine's lock is held, equal keys are neighbours.

        Raises:
            InputError: ``adapter_unloaded``, before anything runs.
        """
        adapters = [self.of(key) for key in keys]
        with self._layers.serving([each.layers if each else None for each in adapters]) as rows:
            yield rows

    @contextmanager
    def in_force(self, key: str | None) -> Iterator[None]:
        """Have the model itself compute under one adapter, or under none, for passes that write no reply.

        Requests wait meanwhile.

        Raises:
            InputError: ``adapter_unloaded``.
        """
        with self._lock:
            adapter = self.of(key)
            self._layers.switch(adapter.layers if adapter else None)
            try:
                yield
            finally:
                self._layers.switch(None)

    def list(self) -> tuple[Adapter, ...]:
        """All adapters that are loaded, in the order of loading."""
        return tuple(self._loaded.values())

    def close(self) -> None:
        """Let go of the model; the engine's lock is held."""
        self._loaded.clear()
        self._layers = self._format = None

    def _names(self) -> tuple[str, ...]:
        return (BASE, *self._loaded)

    def _check_name(self, name: str) -> None:
        if name == BASE or not name.strip() or "@" in name:
            raise InputError("adapter_name_reserved", adapter=name, reserved=BASE)
        if other := self._loaded.get(name):
            raise InputError("adapter_name_taken", adapter=name, path=str(other.path))


def check_fingerprint(path: Path, source: ModelSource) -> Fingerprint | None:
    """What an adapter was trained on and with, once it is known to be for this model.

    Raises:
        InputError: ``adapter_other_base``, or a fingerprint that cannot be used.
        CinquainError: The model's files cannot be read.
    """
    fingerprint = read(path)
    if fingerprint is None:
        return None
    found = weights_sha256(source)
    if found != fingerprint.base.sha256:
        raise InputError(
            "adapter_other_base",
            adapter=str(path),
            expected_reference=fingerprint.base.reference,
            expected_sha256=fingerprint.base.sha256,
            found_reference=source.reference,
            found_sha256=found,
        )
    _check_prompt(path, fingerprint)
    return fingerprint


def _check_prompt(path: Path, fingerprint: Fingerprint) -> None:
    """An adapter of a stranger may bring any prompt: it must have what its task needs, and be readable."""
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from pipelines.tasks import TASKS

    templates, problem = fingerprint.prompt.templates, ""
    if fingerprint.task != fingerprint.prompt.task:
        problem = f"it is for {fingerprint.task}, and its prompt for {fingerprint.prompt.task}"
    elif fingerprint.task in TASKS:
        needed = load_prompt(fingerprint.task).templates
        problem = next((f"its prompt lacks the template {name!r}" for name in needed if name not in templates), "")
    for name, template in templates.items():
        try:
            ImmutableSandboxedEnvironment().parse(template)
        except TemplateSyntaxError as error:
            problem = f"the template {name!r} of its prompt: {error.message}"
    if problem:
        raise InputError("fingerprint_broken", path=str(path / FILE_NAME), problem=problem)
