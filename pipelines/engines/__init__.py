"""Engines: what produces tokens. ``load_engine`` picks the one for a model reference."""

from inspect import signature
from typing import Any

from pipelines.engines.base import Call, Completion, Engine, Message
from pipelines.errors import InputError, nearest

__all__ = ["Call", "Completion", "Engine", "Message", "load_engine"]


def load_engine(reference: str, adapter: str | None = None, **options: Any) -> Engine:
    """The engine for a model reference, loaded and ready.

    Args:
        reference: ``scripted``, a catalog alias, a folder, a ``.gguf`` file or a Hub id.
        adapter: A LoRA folder, or None.
        options: Passed to the engine's constructor.

    Raises:
        InputError: An unknown reference or option, or a model or adapter that cannot be loaded.
    """
    if reference == "scripted":
        from pipelines.engines.scripted import ScriptedEngine

        if adapter:
            raise InputError("engine_takes_no_adapter", reference=reference)
        _check_options(ScriptedEngine, options)
        return ScriptedEngine(**options)
    from pipelines.engines.local import LocalEngine
    from pipelines.models import resolve

    _check_options(LocalEngine, options)
    return LocalEngine(resolve(reference), adapter, **options)


def _check_options(engine: type[Engine], options: dict[str, Any]) -> None:
    known = [name for name, each in signature(engine).parameters.items() if each.kind is each.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise InputError("engine_option_unknown", option=name, nearest=nearest(name, known))
