"""Sentences for codes, in English and Chinese: the only place where a note or an error becomes text.

Each YAML file beside this one holds ``code: {en: "...", zh: "..."}`` for one area. Sentences are ``str.format``
templates over the parameters; a list is shown joined with commas. Two conversions make a parameter readable:
``{language!l}`` shows a tag as the name of the language, ``{check!t}`` the words of ``term_<value>`` if there are any.
"""

import string
from functools import cache
from importlib.resources import files
from typing import Any

from pipelines.errors import CinquainError
from pipelines.generation import Note

__all__ = ["LANGUAGES", "sentence", "sentences"]

LANGUAGES = ("en", "zh")


@cache
def sentences() -> dict[str, dict[str, str]]:
    """All sentences: code → language → template."""
    import yaml

    table: dict[str, dict[str, str]] = {}
    for path in sorted(files(__name__).iterdir(), key=lambda entry: entry.name):
        if path.name.endswith(".yaml"):
            for code, texts in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).items():
                if code in table:
                    raise ValueError(f"the code {code!r} has a sentence in two files of pipelines/wording")
                table[code] = texts
    return table


def sentence(item: Note | CinquainError, language: str = "en") -> str:
    """Render a note or an error.

    Args:
        item: What to say.
        language: ``en`` or ``zh``; a longer tag (``zh-CN``) counts by its first part, anything else reads English.
    """
    texts = sentences().get(item.code)
    if texts is None:
        return f"{item.code}: {item.parameters}"
    language = "zh" if language.lower().startswith("zh") else "en"
    return _Formatter(language).vformat(texts[language], (), item.parameters)


class _Formatter(string.Formatter):
    """``str.format`` with joined lists and two conversions of its own."""

    def __init__(self, language: str) -> None:
        self._language = language

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        """Called for every placeholder, with None where it has no conversion."""
        values = value if isinstance(value, list | tuple) else [value]
        if conversion == "l":
            from pipelines.text.languages import language_name

            values, conversion = [language_name(str(each), self._language) for each in values], None
        elif conversion == "t":
            values, conversion = [self._term(each) for each in values], None
        joined = ("、" if self._language == "zh" else ", ").join(map(str, values))
        return super().convert_field(joined if isinstance(value, list | tuple) else values[0], conversion)

    def _term(self, value: Any) -> Any:
        return sentences().get(f"term_{value}", {}).get(self._language, value)
