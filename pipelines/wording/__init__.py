"""Sentences for codes, in English and Chinese: the only place where a note or an error becomes text.

Each YAML file beside this one holds ``code: {en: "...", zh: "..."}`` for one area. Sentences are ``str.format``
templates over the parameters; a list is shown joined with commas.
"""

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
    template = texts["zh" if language.lower().startswith("zh") else "en"]
    return template.format_map({name: _shown(value) for name, value in item.parameters.items()})


def _shown(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return ", ".join(str(element) for element in value)
    return value
