"""Texts in two languages, in the ways that sets of translations name them."""

from collections.abc import Mapping
from typing import Any

from pipelines.errors import InputError
from pipelines.text.languages import parse_language, same_language

__all__ = ["as_pair"]

_TEXTS = (("source", "target"), ("src", "tgt"), ("source_text", "target_text"))
_SOURCES = ("src_lang", "source_lang", "source_language", "src_language")
_TARGETS = ("tgt_lang", "target_lang", "target_language", "tgt_language", "lang", "language")
_OTHER = {"id", "no"}
"""Names of columns that are tags of languages, too, but most often numbers."""


def as_pair(data: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any] | None:
    """A record as ``source`` and ``target`` with ``src_lang`` and ``tgt_lang``; None where it holds no two texts.

    Args:
        data: The record: two texts and perhaps their languages; or a text for each language, at the top or below
            ``translation``.
        values: Fields that are the same for all records; where they name languages, they choose among several texts,
            and decide the direction, which is otherwise the order of the columns.

    Raises:
        InputError: ``row_columns`` where ``translation`` lacks a language that was named.
    """
    # First: beside them, "source" and "target" are languages and no texts.
    if isinstance(data.get("text"), str) and isinstance(data.get("translation"), str):
        languages = (_first(data, (*_SOURCES, "source")), _first(data, (*_TARGETS, "target")))
        return _written(data, data["text"], data["translation"], *languages)
    for text, translation in _TEXTS:
        if isinstance(data.get(text), str) and isinstance(data.get(translation), str):
            languages = (_first(data, _SOURCES), _first(data, _TARGETS))
            return _written(data, data[text], data[translation], *languages)
    return _by_language(data, values)


def _by_language(data: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any] | None:
    below = data.get("translation")
    texts = below if isinstance(below, Mapping) else data
    found = {
        name: text
        for name, text in texts.items()
        if isinstance(text, str) and (texts is below or (_is_tag(name) and name not in _OTHER))
    }
    chosen = {}
    for field in ("source", "target"):
        language = values.get(field)
        if isinstance(language, str) and language != "auto":
            chosen[field] = _named(found, language)
            if chosen[field] is None:  # another text would be taken for one in that language
                if texts is below:
                    raise InputError("row_columns", task="translation", expected=[language], found=list(texts))
                return None
    source, target = chosen.get("source"), chosen.get("target")
    left = [name for name in found if name not in (source, target)]
    if source is None and len(left) == (1 if target else 2):
        source = left.pop(0)
    if target is None and len(left) == 1:
        target = left.pop(0)
    if source is None or target is None or source == target:
        return None
    return _written(data, found[source], found[target], source, target)


def _written(data: Mapping[str, Any], text: str, translation: str, source: Any, target: Any) -> dict[str, Any]:
    others = {name: data[name] for name in ("formality", "glossary") if data.get(name)}
    languages = {name: tag for name, tag in (("src_lang", source), ("tgt_lang", target)) if tag}
    return {**others, "source": text, "target": translation, **languages}


def _first(data: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((data[name] for name in names if data.get(name)), None)


def _named(texts: Mapping[str, str], language: str) -> str | None:
    """The column of a language that was named."""
    wanted = parse_language(language)
    tags = {name: parse_language(name.replace("_", "-")) for name in texts if _is_tag(name)}
    exact = [name for name, tag in tags.items() if tag == wanted]
    return next(iter(exact or [name for name, tag in tags.items() if same_language(tag, wanted)]), None)


def _is_tag(name: str) -> bool:
    """Whether a column is called by the tag of a language: ``fr``, ``zh-Hans``, ``pt_BR``."""
    if len(name.replace("_", "-").split("-")[0]) != 2:
        return False
    try:
        return bool(parse_language(name.replace("_", "-")))
    except InputError:
        return False
