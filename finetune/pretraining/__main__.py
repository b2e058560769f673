"""A model from nothing, as ``accelerate launch`` starts it in several processes.

accelerate launch --config_file finetune/launch/ddp.yaml -m finetune.pretraining RECIPE.yaml [KEY=VALUE…]
"""

import sys

from finetune.launching import launched

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Make a model as a recipe says.

    Args:
        arguments: Path or name of the recipe, then values that replace the recipe's: ``training.epochs=2``.

    Returns:
        The exit code.
    """
    from finetune.pretraining.progress import PretrainProgress
    from finetune.pretraining.recipe import load_pretrain_recipe
    from finetune.pretraining.run import pretrain

    return launched(
        arguments,
        __doc__,
        lambda path, changes, progress: pretrain(load_pretrain_recipe(path, changes), progress=progress),
        PretrainProgress,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
