"""The words of the page, English and Chinese side by side in ``strings.yaml``."""

from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["Strings", "table"]


@cache
def table() -> dict[str, dict[str, Any]]:
    """All words: key → language → text, or a list of example inputs."""
    import yaml

    loaded: dict[str, dict[str, Any]] = yaml.safe_load((files("apps.web") / "strings.yaml").read_text(encoding="utf-8"))
    return loaded


class Strings:
    """Looks words up in one language.

    Args:
        language: ``en`` or ``zh``; a longer tag counts by its first part, anything else reads English.
    """

    def __init__(self, language: str = "en") -> None:
        self.language = "zh" if language.lower().startswith("zh") else "en"

    def __call__(self, key: str, **parameters: Any) -> str:
        """The text of a key, with its placeholders filled."""
        text: str = table()[key][self.language]
        return text.format_map(parameters) if parameters else text

    def rows(self, key: str) -> list[list[Any]]:
        """The example inputs of a page: one list of field values for each example."""
        rows: list[list[Any]] = table()[key][self.language]
        return rows

    def has(self, key: str) -> bool:
        """Whether there is such a key: some sentences exist for some models only."""
        return key in table()
