"""Recipes on the command line: explained value by value."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["explained"]


def explained(path: Path, changes: Mapping[str, Any], recipe: "BaseModel") -> dict[str, dict[str, Any]]:
    """Every value of a recipe by its dotted name: ``value``, and ``from``: ``command``, ``recipe`` or ``default``."""
    from finetune.data.settings import read_yaml

    written = dict(_leaves(read_yaml(path.read_text(encoding="utf-8"))))

    def origin(name: str) -> str:
        own = name.removeprefix("data.") if name in ("data.task", "data.model") else name  # they are the recipe's own
        if any(own == given or own.startswith(f"{given}.") for given in changes):
            return "command"
        return "recipe" if own in written else "default"

    return {name: {"value": value, "from": origin(name)} for name, value in _leaves(recipe.model_dump(mode="json"))}


def _leaves(data: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything that holds no further names."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    elif isinstance(data, list) and any(isinstance(value, dict) for value in data):
        for place, value in enumerate(data):
            yield from _leaves(value, f"{name}.{place}")
    else:
        yield name, data
