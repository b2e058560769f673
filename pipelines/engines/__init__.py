"""Engines: what produces tokens. ``load_engine`` picks the one for a model reference."""

from collections.abc import Iterable
from inspect import Parameter, signature
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipelines.engines.base import Call, Completion, Engine, Message
from pipelines.errors import InputError, nearest

__all__ = ["Call", "Completion", "Engine", "Message", "load_engine"]


def load_engine(
    reference: str,
    adapter: str | None = None,
    *,
    task: str | None = None,
    languages: Iterable[str] = (),
    **options: Any,
) -> Engine:
    """The engine for a model reference, loaded and ready.

    Args:
        reference: ``scripted``, ``auto``, a catalog alias, a folder, a ``.gguf`` file, a Hub id or
            ``https://host/v1#model``.
        adapter: A LoRA folder, or None.
        task: What it is for, where that is known; only ``auto`` asks.
        languages: BCP-47 tags that it must know; only ``auto`` asks.
        options: Passed to the engine's constructor.

    Raises:
        InputError: An unknown reference or option, or a model or adapter that cannot be loaded.
    """
    if reference == "scripted":
        from pipelines.engines.scripted import ScriptedEngine

        if adapter:
            raise InputError("engine_takes_no_adapter", reference=reference)
        return ScriptedEngine(**_checked((ScriptedEngine,), options))
    if "://" in reference:
        from pipelines.engines.remote.engine import RemoteEngine

        remote = RemoteEngine(reference, **_checked((RemoteEngine,), options))
        if adapter:
            raise InputError("engine_takes_no_adapter", reference=remote.reference)
        return remote
    from pipelines.engines.local import LocalEngine
    from pipelines.engines.seq2seq.engine import Seq2SeqEngine
    from pipelines.engines.seq2seq.loading import is_encoder_decoder
    from pipelines.models import resolve

    _checked((LocalEngine, Seq2SeqEngine), options)  # before anything is fetched
    source = resolve(reference, task=task, languages=languages)
    engine = Seq2SeqEngine if is_encoder_decoder(source) else LocalEngine
    return engine(source, adapter, **_checked((engine,), options))


def _checked(engines: tuple[type[Engine], ...], options: dict[str, Any]) -> dict[str, Any]:
    """The options in the types that the constructors of the engines declare.

    Raises:
        InputError: ``engine_option_unknown`` or ``engine_option_invalid``.
    """
    known: dict[str, Parameter] = {}
    for engine in engines:
        known |= {name: each for name, each in signature(engine).parameters.items() if each.kind is each.KEYWORD_ONLY}
    values = {}
    for name, value in options.items():
        if name not in known:
            raise InputError("engine_option_unknown", option=name, nearest=nearest(name, known))
        try:
            values[name] = TypeAdapter(known[name].annotation).validate_python(value)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            raise InputError("engine_option_invalid", option=name, found=repr(value), problem=problem) from None
    return values
