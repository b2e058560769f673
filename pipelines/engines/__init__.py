"""Engines: what produces tokens. ``load_engine`` picks the one for a model reference."""

from typing import Any

from pipelines.engines.base import Call, Completion, Engine, Message

__all__ = ["Call", "Completion", "Engine", "Message", "load_engine"]


def load_engine(reference: str, adapter: str | None = None, **options: Any) -> Engine:
    """The engine for a model reference, loaded and ready.

    Args:
        reference: ``scripted``, a catalog alias, a folder, a ``.gguf`` file or a Hub id.
        adapter: A LoRA folder, or None.
        options: Passed to the engine's constructor.

    Raises:
        InputError: An unknown reference, or a model that cannot be loaded.
    """
    if reference == "scripted":
        from pipelines.engines.scripted import ScriptedEngine

        return ScriptedEngine(**options)
    from pipelines.engines.local import LocalEngine
    from pipelines.models import resolve

    return LocalEngine(resolve(reference), adapter, **options)
