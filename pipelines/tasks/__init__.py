"""The five tasks, one file each."""

from typing import Any

from pipelines.tasks.base import Run, Step, Steps, Task
from pipelines.tasks.code_generation import CodeGeneration
from pipelines.tasks.creative_writing import CreativeWriting
from pipelines.tasks.dialogue import Dialogue
from pipelines.tasks.summarization import Summarization
from pipelines.tasks.translation import Translation

__all__ = ["TASKS", "Run", "Step", "Steps", "Task"]

TASKS: dict[str, type[Task[Any]]] = {
    "translation": Translation,
    "summarization": Summarization,
    "dialogue": Dialogue,
    "code_generation": CodeGeneration,
    "creative_writing": CreativeWriting,
}
