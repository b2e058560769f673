"""The list of public sets that ``cinquain data fetch`` rebuilds."""

import typer

from apps.cli.terminal import console, sanitize, say, to_json

__all__ = ["print_sets"]


def print_sets(*, as_json: bool) -> None:
    """Print the sets: task, rows, licence, languages, and the packages that carry them."""
    from finetune.data.fetch import SETS

    sets = [
        {
            "name": one.name,
            "task": one.task,
            "rows": one.rows,
            "licence": one.licence,
            "languages": list(one.languages),
            "use": one.use,
            "packages": [pin.requirement for pin in one.pins],
        }
        for one in SETS.values()
    ]
    if as_json:
        typer.echo(to_json(sets, indent=2))
        return
    screen = console()
    for one in SETS.values():
        rows = say("data_cli_set", rows=one.rows, licence=one.licence, task=one.task)
        languages = ", ".join(one.languages)
        remark = f"  {say('data_cli_benchmark')}" if one.benchmark else ""
        screen.print(sanitize(f"{one.name:18}  {rows}  {languages}{remark}"), soft_wrap=True)
    screen.print(say("data_cli_sets_hint", name=next(iter(SETS))), style="dim", soft_wrap=True)
