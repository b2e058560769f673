"""Cinquain's ground floor: five tasks on any language model, behind one call.

    >>> from pipelines import pipeline
    >>> translate = pipeline("translation", model="scripted")
    >>> translate(text="Good morning.", target="fr").text
    '[fr] Good morning.'

Heavy libraries are imported when an engine loads, not here: ``import pipelines`` stays fast.
"""

from typing import Any

from pipelines.errors import CinquainError, InputError, nearest
from pipelines.generation import Generation, GenerationOptions, Note
from pipelines.pipeline import Pipeline, Stream
from pipelines.prompts import Prompt, load_prompt
from pipelines.tasks import TASKS, Task

__all__ = [
    "DEFAULT_MODEL",
    "TASKS",
    "CinquainError",
    "Generation",
    "GenerationOptions",
    "InputError",
    "Note",
    "Pipeline",
    "Prompt",
    "Stream",
    "Task",
    "load_prompt",
    "pipeline",
]

DEFAULT_MODEL = "smollm2-135m"
"""The embedded model: needs no account, no GPU and no Hub."""


def pipeline(
    task: str | Task[Any],
    model: str = DEFAULT_MODEL,
    adapter: str | None = None,
    *,
    prompt: Prompt | None = None,
    **engine_options: Any,
) -> Pipeline:
    """Build a pipeline: a task on a model.

    Args:
        task: A name from ``TASKS``, or a task object.
        model: Model reference: an alias of the catalog such as ``smollm2-135m``, ``auto`` for the best that fits this
            machine, a folder, ``file.gguf``, ``org/name[@revision]``, ``https://host/v1#model``, or ``scripted``.
        adapter: Folder of a LoRA adapter.
        prompt: The wording to use instead of the task's own.
        engine_options: Passed to the engine (``dtype``, ``device``, ``token_budget``…).

    Raises:
        InputError: An unknown task, model, adapter or engine option.
    """
    from pipelines.engines import load_engine

    if isinstance(task, str):
        if task not in TASKS:
            raise InputError("task_unknown", found=task, nearest=nearest(task, TASKS))
        task = TASKS[task]()
    return Pipeline(task, load_engine(model, adapter, task=task.name, **engine_options), prompt)
