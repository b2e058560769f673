"""``python -m finetune RECIPE [KEY=VALUE…]``: what ``accelerate launch`` starts once for each process.

``cinquain finetune`` does the same in one process, and shows more.
"""

import os
import sys
from typing import Any

from pipelines.errors import CinquainError

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Train as a recipe says, and judge the adapter.

    Args:
        arguments: Path of the recipe, or name of one that ships; then values that replace the recipe's:
            ``training.epochs=2``.

    Returns:
        The exit code.
    """
    from finetune.data.settings import read_value
    from finetune.finetuning import finetune
    from finetune.recipe import find_recipe, load_recipe
    from finetune.training.progress import TrainingProgress

    if not arguments or arguments[0].startswith("-"):
        sys.stderr.write(f"{__doc__}\n")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    first = os.environ.get("RANK", "0") == "0"
    changes: dict[str, Any] = {}
    for change in arguments[1:]:
        name, _, value = change.partition("=")
        changes[name] = read_value(value)
    progress = TrainingProgress(quiet=not first)
    try:
        finetune(load_recipe(find_recipe(arguments[0]), changes), progress=progress)
    except CinquainError as error:
        progress.tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
