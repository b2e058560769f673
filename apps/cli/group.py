"""The tree of commands: a typer group that loads a subcommand's file when it is asked for."""

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from apps.cli.terminal import Language

__all__ = ["COMMANDS", "app"]

COMMANDS = ("run", "chat", "ui", "data", "finetune", "pretrain", "merge", "push", "publish", "eval", "models", "doctor",
            "demo")  # fmt: skip
"""The subcommands in the order of the help page: each is ``apps/cli/<name>.py`` with its ``typer.Typer`` as ``app``."""


class _LazyGroup(TyperGroup):
    """Imports ``apps.cli.<name>`` when that subcommand is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        command = get_command(import_module(f"apps.cli.{cmd_name}").app)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            from pipelines.errors import InputError, nearest

            raise InputError("cli_command_unknown", found=args[0], nearest=nearest(args[0], COMMANDS))
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"cinquain {version('cinquain')}")
        except PackageNotFoundError:
            typer.echo("cinquain (not installed: run from its folder)")
        raise typer.Exit


@app.callback()
def cinquain(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
    lang: Language = None,
) -> None:
    """Translate, summarize, converse, write code and write creatively with language models."""
