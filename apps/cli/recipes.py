"""Recipes on the command line: the options of the commands that take one, and a recipe explained value by value."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps.cli.terminal import say, to_json

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["AsJson", "Changes", "Explain", "Quiet", "explained", "show_explained"]

Changes = Annotated[
    list[str] | None,
    typer.Argument(help="Values that replace the recipe's: training.epochs=2.", metavar="[KEY=VALUE…]"),
]
Explain = Annotated[bool, typer.Option("--explain", help="Print every value and where it comes from, and do nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def show_explained(path: Path, changes: Mapping[str, Any], recipe: "BaseModel", *, as_json: bool) -> None:
    """Print ``explained``, as columns or as one JSON object."""
    rows = explained(path, changes, recipe)
    typer.echo(to_json(rows, indent=2) if as_json else "\n".join(_aligned(rows)))


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


def _aligned(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Every value of a recipe with where it comes from, as lines of columns."""
    values = {name: to_json(row["value"]) for name, row in rows.items()}
    wide, long = max(map(len, rows)), max(len(value) for value in values.values() if len(value) <= 40)
    lines = []
    for name, row in rows.items():
        origin = row["from"]
        lines.append(f"{name:<{wide}}  {values[name]:<{long}}  " + say(f"finetune_from_{origin}"))
    return lines


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
