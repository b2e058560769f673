"""``pretrain``: a recipe in, a model out that the whole suite takes.

The same command goes on where a run was stopped or killed: each part keeps what it has done.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from finetune.pretraining.preparing import prepare_text
from finetune.pretraining.progress import PretrainProgress
from finetune.pretraining.recipe import PretrainRecipe
from finetune.pretraining.result import ModelFolder, identity_of
from finetune.pretraining.training import Run
from finetune.training.processes import Processes
from finetune.training.run import device_for
from pipelines.errors import InputError

__all__ = ["pretrain"]


def pretrain(recipe: PretrainRecipe, *, progress: PretrainProgress | None = None) -> dict[str, Any]:
    """Make a model.

    Args:
        recipe: Of what, and how large.
        progress: Where it is shown how far the work is.

    Returns:
        What ``pretraining.json`` holds; that of the finished run where there is nothing left to do.

    Raises:
        InputError: The recipe names what is not there, or its folder belongs to another recipe.
        CinquainError: Another run works in the folder, the disk is full, the loss is not finite any more.
        KeyboardInterrupt: A person stopped it; a checkpoint was saved.
    """
    progress = progress or PretrainProgress(quiet=True)
    choice = device_for(recipe.training.device, recipe.training.dtype)
    processes = Processes(choice)
    if recipe.training.batch_size % processes.count:
        raise InputError("pretrain_processes", batch_size=recipe.training.batch_size, processes=processes.count)
    if not processes.first:
        progress = PretrainProgress(quiet=True)
        processes.wait()
    folder = ModelFolder(Path(recipe.output).expanduser())
    with folder.held() if processes.first else nullcontext():
        if processes.first:
            folder.claim(recipe, identity_of(recipe))
        if done := folder.finished():
            if processes.first:
                folder.tidy()
            progress.say("pretrain_nothing_to_do", out=str(folder.path))
            processes.wait()
            return done
        if processes.first:
            try:
                prepare_text(recipe, folder, progress)
            except InputError:
                folder.release()
                raise
            processes.wait()
        run = Run(recipe, folder, choice, processes, progress)
        figures = run.text()
        chats = run.chats() if recipe.chat else None
        if processes.first:
            run.publish()
            folder.finish({**run.provenance(), "text": figures, "chat": chats})
            progress.say("pretrain_done", out=str(folder.path))
        processes.wait()
        return folder.finished() or {}
