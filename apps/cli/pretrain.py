"""``cinquain pretrain``: a recipe and text in; a language model from nothing out."""

from typing import Annotated, Any

import typer

from apps.cli.recipes import AsJson, Changes, Explain, Quiet, show_explained
from apps.cli.run import parse_settings
from apps.cli.terminal import Language, console, language, sanitize, say, to_json

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def pretrain(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe (YAML), or the name of one that ships: pretrain_tiny, pretrain_classic, pretrain_gpu.",
            show_default=False,
        ),
    ],
    changes: Changes = None,
    explain: Explain = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    lang: Language = None,
) -> None:
    """Train a tokenizer and a language model from text, from nothing."""
    from finetune.pretraining.recipe import load_pretrain_recipe
    from finetune.recipe import find_recipe

    path, given = find_recipe(recipe), parse_settings(changes or [], "KEY=VALUE")
    loaded = load_pretrain_recipe(path, given)
    if explain:
        show_explained(path, given, loaded, as_json=as_json)
        return
    from finetune.pretraining.progress import PretrainProgress
    from finetune.pretraining.run import pretrain as run

    figures = run(loaded, progress=PretrainProgress(quiet=quiet, language=language()))
    if not figures:  # one of several processes: the first one speaks
        return
    if as_json:
        typer.echo(to_json(figures, indent=2))
    elif not quiet:
        _print(loaded.output, figures)


def _print(output: str, figures: dict[str, Any]) -> None:
    screen, text = console(), figures["text"]
    shown = {
        "weights": f"{figures['weights']:,}",
        "tokens": f"{text['tokens']:,}",
        "bits": f"{text['bits_per_byte']:.3f}",
    }
    screen.print(say("pretrain_figures_end", **shown), soft_wrap=True)
    task = next(iter(figures["chat"]["rows"]), "creative_writing") if figures["chat"] else "creative_writing"
    screen.print(say("finetune_next", command=f"cinquain run {task} … --model {sanitize(output)}"), soft_wrap=True)
