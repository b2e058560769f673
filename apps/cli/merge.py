"""``cinquain merge``: an adapter made part of its base's weights, and the gate that says whether they are the same."""

from pathlib import Path
from typing import Annotated

import typer

from apps.cli.run import Model
from apps.cli.terminal import Language, console, language, say, to_json

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def merge(
    adapter: Annotated[str, typer.Argument(help="Folder of the adapter, or its name.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder for the merged model; must not exist yet.", show_default=False)],
    model: Model = None,
    rows: Annotated[
        Path | None,
        typer.Option(
            help="Prepared folder, or prepared file, to compare on; the adapter's own held-out rows without it.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    lang: Language = None,
) -> int:
    """Merge an adapter into its base, and compare the two before you trust it."""
    from finetune.merging import REPORT, comparison_rows
    from finetune.merging import merge as merged
    from pipelines.models import resolve_adapter
    from pipelines.models.progress import Progress

    path = resolve_adapter(adapter)
    progress = Progress(quiet=quiet or as_json, language=language())
    gate = merged(path, out, comparison_rows(path, rows), model=model, progress=progress)
    if as_json:
        typer.echo(to_json({"out": str(out), "passed": gate.passed, **vars(gate)}, indent=2))
    elif not quiet:
        screen = console()
        figures = {
            "difference": f"{gate.logit_difference:.2g}",
            "limit": f"{gate.logit_limit:g}",
            "same": f"{gate.agreement:.0%}",
            "needed": f"{gate.agreement_needed:.0%}",
        }
        screen.print(say("merge_figures", rows=gate.rows, dtype=gate.dtype, **figures), soft_wrap=True)
        if gate.metric:
            scores = {"adapter": f"{gate.adapter_score:.2f}", "merged": f"{gate.merged_score:.2f}"}
            screen.print(say("merge_scores", metric=gate.metric, **scores), soft_wrap=True)
    if not quiet or not gate.passed:
        code = "merge_passed" if gate.passed else "merge_failed"
        console(stderr=True).print(say(code, out=str(out), report=str(out / REPORT)), soft_wrap=True)
    return 0 if gate.passed else 1
