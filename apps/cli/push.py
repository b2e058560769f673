"""``cinquain push``: an adapter or a merged model on the Hub, with its card and its figures."""

from pathlib import Path
from typing import Annotated

import typer

from apps.cli.terminal import Language, console, say, to_json

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def push(
    folder: Annotated[str, typer.Argument(help="Folder of an adapter or a merged model.", show_default=False)],
    to: Annotated[str, typer.Option("--to", help="Repository on the Hub: user/name.", show_default=False)],
    public: Annotated[bool, typer.Option("--public", help="Let everybody read a new repository.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    lang: Language = None,
) -> int:
    """Publish an adapter or a merged model; never its rows, ledger samples or replies."""
    from finetune.pushing import push as pushed

    done = pushed(_folder(folder), to, private=not public, dry_run=dry_run)
    if as_json:
        typer.echo(to_json({**vars(done), "private": not public}, indent=2))
        return 0
    screen = console()
    for name, size in done.files.items():
        screen.print(say("push_file", name=name, size=f"{size / 1e6:.2f}"), soft_wrap=True)
    screen.print(say("push_dry" if dry_run else "push_done", address=done.address), style="bold", soft_wrap=True)
    return 0


def _folder(named: str) -> Path:
    """A folder as it is named; an adapter may be named without its folder, as elsewhere."""
    from pipelines.models import resolve_adapter

    path = Path(named)
    return path if path.is_dir() else resolve_adapter(named)
