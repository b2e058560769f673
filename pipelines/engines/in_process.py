"""What the engines share that run a model of transformers in this process: loading, adapters, provenance, the end."""

import threading
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar, Self

from pipelines.engines.adapters.adapters import BASE, Adapter, Adapters, check_fingerprint
from pipelines.engines.base import Call, Engine
from pipelines.engines.device import DeviceChoice, settled
from pipelines.engines.free_memory import give_back
from pipelines.engines.loading import load_model
from pipelines.engines.placement import offload_notes, place
from pipelines.generation import Note
from pipelines.models.fingerprint import MERGED_FILE_NAME, read
from pipelines.models.source import ModelSource
from pipelines.prompts import Prompt

__all__ = ["InProcessEngine"]


class InProcessEngine(Engine):
    """A model in this process. A child sets ``adapters`` and ``chat_template`` once it knows how its model is written.

    Args:
        source: Where the model is.
        adapter: Folder of a LoRA adapter, or None; a wrong one shows before the model is loaded.
        choice: Device, number format, quantization and attention.

    Attributes:
        kind: Name of the engine in provenance.
        encoder_decoder: Whether its models have an encoder and a decoder.
        source: Where the model is.
        placement: Where its weights went.
        model: The model; None once the engine is closed.
        tokenizer: Its tokenizer.
        choice: How it computes, with the attention that the model has.
        notes: What a person should know of every answer.
        adapters: The adapters in memory.

    Raises:
        InputError: The model or the adapter cannot be loaded, or does not fit this machine.
    """

    kind: ClassVar[str]
    encoder_decoder: ClassVar[bool] = False
    adapters: Adapters

    def __init__(self, source: ModelSource, adapter: str | None, choice: DeviceChoice) -> None:
        from pipelines.models import resolve_adapter

        if adapter:
            adapter_path = resolve_adapter(adapter)
            if source.path:
                check_fingerprint(adapter_path, source)
        self._merged = read(source.path, MERGED_FILE_NAME) if source.path and source.kind == "folder" else None
        self.source = source
        self.reference = source.reference
        self.placement = place(source, choice)
        self.model, self.tokenizer = load_model(source, choice, self.placement, encoder_decoder=self.encoder_decoder)
        self.choice = settled(choice, self.model)
        self.notes: tuple[Note, ...] = (*self.placement.notes, *offload_notes(self.model))
        self._lock = threading.Lock()
        self._adapter: Adapter | None = None

    @property
    def shown_examples(self) -> bool:
        """Whether the model follows examples and no instructions, so that its prompts need more of them."""
        return False

    def view(self, adapter: str | None) -> Self:
        """This engine as requests under one adapter see it; the engine itself is that of its base model."""
        name = self.adapters.default if adapter is None else adapter
        if name is None or name == BASE:
            return self
        view = copy(self)  # the model, the lock and what was computed before are shared
        view._adapter = self.adapters.get(name)
        view.adapter, view.chat_template = view._adapter.key, view._adapter.format.template
        return view

    def wording(self, task: str, override: Prompt | None) -> Prompt:
        """The prompt to use for a task: what the adapter, or the model that one was merged into, was trained with."""
        if self._adapter and (stored := self._adapter.prompt(task, override)):
            return stored
        if self._merged and (stored := self._merged.stored_prompt(self.reference, task, override)):
            return stored
        prompt = super().wording(task, override)
        return prompt.for_base_model() if self.shown_examples else prompt

    def provenance(self) -> dict[str, Any]:
        """Model, weights' hash where known, number format, device and library versions."""
        import torch
        import transformers

        return {
            "engine": self.kind,
            "model": self.reference,
            "model_sha256": self.source.sha256,
            "revision": self.source.revision,
            **(self._adapter.provenance() if self._adapter else {"adapter": None, "adapter_sha256": None}),
            "device": self.choice.device,
            "dtype": self.choice.label,
            "attention": self.choice.attention,
            "devices": list(self.placement.devices),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    def close(self) -> None:
        """Free the model's memory; the engine cannot be used afterwards."""
        with self._lock:
            self.adapters.close()
            self._let_go()
        give_back(self.placement.devices[0])

    def _let_go(self) -> None:
        """Drop what holds the model; the lock is held."""
        self.model = None

    def _answering(self, call: Call) -> tuple[Call, Adapter | None, tuple[Note, ...]]:
        """A call with the key of the adapter that answers it, that adapter, and what to say of every such answer.

        Raises:
            InputError: ``adapter_unloaded``.
        """
        adapter = self.adapters.of(call.adapter)
        call = replace(call, adapter=adapter.key if adapter else None)
        return call, adapter, (*self.notes, *(adapter.notes if adapter else ()))
