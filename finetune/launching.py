"""What ``accelerate launch`` starts once for each process: a recipe and changes to it, in place of a command line."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pipelines.errors import CinquainError
from pipelines.models.progress import Progress

__all__ = ["launched"]

ProgressT = TypeVar("ProgressT", bound=Progress)


def launched(
    arguments: Sequence[str],
    usage: str | None,
    work: Callable[[Path, Mapping[str, Any], ProgressT], object],
    progress_type: Callable[..., ProgressT],
) -> int:
    """Do the work of one process.

    Args:
        arguments: Path of the recipe, or name of one that ships; then values that replace the recipe's:
            ``training.epochs=2``.
        usage: Shown where no recipe is named.
        work: Takes the recipe's file, the changes and the progress, which is quiet in all processes but the first.
        progress_type: Makes the progress.

    Returns:
        The exit code.
    """
    from finetune.data.settings import read_value
    from finetune.recipe import find_recipe

    if not arguments or arguments[0].startswith("-"):
        sys.stderr.write(f"{usage}\n")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    changes: dict[str, Any] = {}
    for change in arguments[1:]:
        name, _, value = change.partition("=")
        changes[name] = read_value(value)
    progress = progress_type(quiet=os.environ.get("RANK", "0") != "0")
    try:
        work(find_recipe(arguments[0]), changes, progress)
    except CinquainError as error:
        progress.tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0
