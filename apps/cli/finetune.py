"""``cinquain finetune``: a recipe in; an adapter, a verdict on whether it helped, and a card out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps.cli.recipes import AsJson, Changes, Explain, Quiet, show_explained
from apps.cli.run import parse_settings
from apps.cli.terminal import Language, console, language, sanitize, say, to_json

if TYPE_CHECKING:
    from finetune.finetuning import Finetuned

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def finetune(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe (YAML), or the name of one that ships: translation, summarization, dialogue, "
            "code_generation, creative_writing, translation_gpu…",
            show_default=False,
        ),
    ],
    changes: Changes = None,
    explain: Explain = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    lang: Language = None,
) -> None:
    """Teach a model with LoRA, and see whether it helped."""
    from finetune.recipe import find_recipe, load_recipe

    path, given = find_recipe(recipe), parse_settings(changes or [], "KEY=VALUE")
    loaded = load_recipe(path, given)
    if explain:
        show_explained(path, given, loaded, as_json=as_json)
        return
    from finetune.finetuning import finetune as run
    from finetune.training.progress import TrainingProgress

    done = run(loaded, progress=TrainingProgress(quiet=quiet, language=language()))
    if done is None:  # one of several processes: the first one speaks
        return
    if as_json:
        typer.echo(to_json(_plain(done), indent=2))
    elif not quiet:
        _print(done, loaded.task, loaded.model)


def _print(done: "Finetuned", task: str, model: str) -> None:
    screen, folder = console(), sanitize(str(done.folder))
    if done.judgement:
        screen.print(say(done.judgement.verdict), soft_wrap=True)
        for metric in done.judgement.metrics:
            found = metric.comparison
            figures = {"metric": metric.name, "base": f"{found.first:.2f}", "adapter": f"{found.second:.2f}"}
            interval = {"low": f"{found.interval.low:+.2f}", "high": f"{found.interval.high:+.2f}"}
            screen.print("  " + say("finetune_metric", **figures, **interval), soft_wrap=True)
        copying = done.judgement.copying
        screen.print(say("finetune_copied", longest=copying.longest, mean=copying.mean, base=copying.base_mean))
    if done.exposure:
        screen.print(say("finetune_exposed", **vars(done.exposure)), soft_wrap=True)
    screen.print(say("finetune_card", path=str(done.folder / "README.md")), soft_wrap=True)
    command = f"cinquain run {task} … --model {model} --adapter {folder}"
    screen.print(say("finetune_next", command=command), soft_wrap=True)
    screen.print(say("finetune_share", command=f"cinquain push {folder} --to user/name"), soft_wrap=True)


def _plain(done: "Finetuned") -> dict[str, Any]:
    return {
        "folder": str(Path(done.folder)),
        "training": done.figures,
        "judgement": done.judgement.to_json() if done.judgement else None,
        "exposure": vars(done.exposure) if done.exposure else None,
    }
