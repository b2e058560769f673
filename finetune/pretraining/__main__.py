"""A model from nothing, as ``accelerate launch`` starts it in several processes.

accelerate launch --config_file finetune/launch/ddp.yaml -m finetune.pretraining RECIPE.yaml [KEY=VALUE…]
"""

import os
import sys
from typing import Any

from pipelines.errors import CinquainError

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Make a model as a recipe says.

    Args:
        arguments: Path or name of the recipe, then values that replace the recipe's: ``training.epochs=2``.

    Returns:
        The exit code.
    """
    from finetune.data.settings import read_value
    from finetune.pretraining.progress import PretrainProgress
    from finetune.pretraining.recipe import load_pretrain_recipe
    from finetune.pretraining.run import pretrain
    from finetune.recipe import find_recipe

    if not arguments or arguments[0].startswith("-"):
        sys.stderr.write(f"{__doc__}\n")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    changes: dict[str, Any] = {}
    for change in arguments[1:]:
        name, _, value = change.partition("=")
        changes[name] = read_value(value)
    progress = PretrainProgress(quiet=os.environ.get("RANK", "0") != "0")
    try:
        pretrain(load_pretrain_recipe(find_recipe(arguments[0]), changes), progress=progress)
    except CinquainError as error:
        progress.tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
