"""``python -m finetune RECIPE [KEY=VALUE…]``: what ``accelerate launch`` starts once for each process.

``cinquain finetune`` does the same in one process, and shows more.
"""

import sys

from finetune.launching import launched

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Train as a recipe says, and judge the adapter.

    Args:
        arguments: Path of the recipe, or name of one that ships; then values that replace the recipe's:
            ``training.epochs=2``.

    Returns:
        The exit code.
    """
    from finetune.finetuning import finetune
    from finetune.recipe import load_recipe
    from finetune.training.progress import TrainingProgress

    return launched(
        arguments,
        __doc__,
        lambda path, changes, progress: finetune(load_recipe(path, changes), progress=progress),
        TrainingProgress,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
