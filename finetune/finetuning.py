"""``finetune``: a recipe in; an adapter, a verdict on whether it helped, and a card out.

In this order: rows are prepared, the adapter is trained and saved; it is loaded from the disk again and compared with
its base on rows that it never saw; the card says what came of it. Each part is kept as soon as it is done, so that the
same command goes on from there.
"""

import gc
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eval.likelihood import reference_bits
from finetune.data.rendering import Renderer
from finetune.data.results import finished
from finetune.data.row import Row
from finetune.judging.answers import Answer, answers
from finetune.judging.canaries import Exposure, canaries, exposed, exposure
from finetune.judging.card import write_card
from finetune.judging.comparison import Side, held_out, judge, training_rows
from finetune.judging.judgement import Judgement, save
from finetune.recipe import Recipe
from finetune.training.folder import RunFolder
from finetune.training.progress import TrainingProgress
from finetune.training.run import train, training_device
from pipelines.engines.adapters.adapters import BASE
from pipelines.prompts import load_prompt

__all__ = ["Finetuned", "finetune"]


@dataclass(frozen=True)
class Finetuned:
    """What a recipe gave.

    Attributes:
        folder: The adapter's folder, with everything that belongs to it.
        figures: What ``training.json`` holds.
        judgement: Base against adapter; None where no rows were held out, or the recipe compares none.
        exposure: Of planted secrets; None where the recipe plants none.
    """

    folder: Path
    figures: dict[str, Any]
    judgement: Judgement | None
    exposure: Exposure | None


def finetune(recipe: Recipe, *, progress: TrainingProgress | None = None) -> Finetuned | None:
    """Train an adapter and judge it.

    Args:
        recipe: What to teach which model.
        progress: Where it is shown how far the work is.

    Returns:
        What came of it; None in all but the first of several processes.

    Raises:
        InputError: As ``finetune.training.run.train``.
        CinquainError: As there.
        KeyboardInterrupt: A person stopped it; the same command goes on.
    """
    progress = progress or TrainingProgress(quiet=True)
    planted = canaries(recipe.task, recipe.compare.canaries)
    figures = train(recipe, planted=planted, progress=progress)
    if os.environ.get("RANK", "0") != "0":
        return None
    folder = RunFolder(Path(recipe.output).expanduser())
    ledger = finished(folder.data)
    assert ledger is not None
    part, rows = held_out(folder.data, recipe.compare.rows) if recipe.compare.rows else ("", [])
    judgement, leaks = _judged(recipe, folder, part, rows, planted, progress)
    figures = {**figures, "plot": folder.plot.is_file()}
    write_card(folder.path, recipe, figures, ledger, judgement, leaks)
    if judgement:
        save(judgement, folder.path)
        progress.tell(judgement.verdict)
    return Finetuned(folder.path, figures, judgement, leaks)


def _judged(
    recipe: Recipe,
    folder: RunFolder,
    part: str,
    rows: Sequence[Row],
    planted: Sequence[Row],
    progress: TrainingProgress,
) -> tuple[Judgement | None, Exposure | None]:
    """Base and adapter, both from the disk."""
    if not rows and not planted:
        return None, None
    replies = _answered(recipe, folder, rows, progress) if rows else [[], []]
    progress.say("judging_likelihood", rows=len(rows))
    bits, exposures = _likelihoods(recipe, folder.path, rows, planted)
    base, adapter = (Side(found, own) for found, own in zip(replies, bits, strict=True))
    judgement = judge(recipe.task, part, rows, base, adapter, partial(training_rows, folder.data)) if rows else None
    return judgement, exposed(exposures[0], exposures[1]) if planted else None


def _answered(recipe: Recipe, folder: RunFolder, rows: Sequence[Row], progress: TrainingProgress) -> list[list[Answer]]:
    """What base and adapter answer; the base is asked with the prompt that serves it, worked examples and all."""
    from pipelines import pipeline

    requests = [row.request for row in rows]
    # The number format of the training: what "auto" takes on some processors answers alone otherwise than in a batch.
    dtype = training_device(recipe).dtype
    asked = pipeline(recipe.task, recipe.model, str(folder.path), device=recipe.training.device, dtype=dtype)
    found = []
    for adapter in (BASE, None):
        with progress.rows("judging_base" if adapter else "judging_adapter", len(rows)) as advance:
            found.append(
                answers(
                    asked,
                    requests,
                    folder.path / "answers",
                    adapter=adapter,
                    max_new_tokens=recipe.compare.max_new_tokens,
                    advance=advance,
                )
            )
    asked.engine.close()
    return found


def _likelihoods(
    recipe: Recipe, adapter: Path, rows: Sequence[Row], planted: Sequence[Row]
) -> tuple[list[list[float]], list[list[float]]]:
    """Bits of each row's reply, and exposure of each planted row, under the base and under the adapter."""
    from finetune.training.adapter import load_base, with_saved_adapter
    from pipelines.models import resolve

    model = load_base(resolve(recipe.model, task=recipe.task), training_device(recipe))
    bits, exposures = [], []
    for prompt in (load_prompt(recipe.task), None):
        renderer = Renderer.load(recipe.model, recipe.task, prompt)
        if prompt is None:
            model = with_saved_adapter(model, adapter)
        bits.append(reference_bits(model, [renderer.render(row) for row in rows]))
        exposures.append(exposure(planted, renderer, partial(reference_bits, model)))
    del model
    gc.collect()
    return bits, exposures
