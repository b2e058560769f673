"""The folder of a run that may be killed: one run at a time, of one recipe, with figures that are written last."""

import json
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from finetune.data.results import WORK
from pipelines.errors import CinquainError, InputError
from pipelines.home import exclusive, write_atomically

__all__ = ["SCHEMA_VERSION", "OwnedFolder"]

SCHEMA_VERSION = 1


class OwnedFolder:
    """The folder of a run.

    Args:
        path: Where it is.
        result: Name of the file with the figures of the finished run.
        foreign: Names of files that no run of this suite began, where the recipe does not lie beside them.
        other_recipe: Code of the error for a folder of another recipe.

    Attributes:
        path: Where it is.
        work: Folder of unfinished work.
        plot: Curves.
        result: Figures of the finished run.
        lock: The whole recipe, and the hash that a later run must have, too.
    """

    def __init__(self, path: Path, result: str, foreign: Sequence[str], other_recipe: str) -> None:
        self.path, self.work = path, path / WORK
        self.plot, self.result, self.lock = path / "loss.png", path / result, path / "recipe.json"
        self._foreign, self._other_recipe = (*foreign, result), other_recipe

    def held(self) -> AbstractContextManager[None]:
        """Keep other runs out of this folder.

        Raises:
            CinquainError: ``training_in_use``.
        """
        return exclusive(self.path / ".training.lock", CinquainError("training_in_use", out=str(self.path)))

    def claim(self, recipe: BaseModel, identity: str) -> None:
        """See that this folder belongs to this recipe, or make it so where it is empty.

        Args:
            recipe: The recipe.
            identity: Hash over everything that decides the result.

        Raises:
            InputError: The folder is of another recipe, with both hashes; ``training_foreign_files`` where files lie
                there that no run of this suite began.
        """
        try:
            found = str(json.loads(self.lock.read_bytes())["identity"])
        except (OSError, ValueError, KeyError, TypeError):
            if there := [name for name in self._foreign if (self.path / name).exists()]:
                raise InputError("training_foreign_files", out=str(self.path), files=there) from None
        else:
            if found != identity:
                raise InputError(self._other_recipe, out=str(self.path), found=found[:12], wanted=identity[:12])
            return
        lock = {"schema_version": SCHEMA_VERSION, "identity": identity, "recipe": recipe.model_dump(mode="json")}
        write_atomically(self.lock, json.dumps(lock, ensure_ascii=False, indent=1) + "\n")

    def finished(self) -> dict[str, Any] | None:
        """Figures of the finished run; None where there is none yet."""
        try:
            figures: dict[str, Any] = json.loads(self.result.read_bytes())
        except (OSError, ValueError):
            return None
        return figures

    def finish(self, figures: dict[str, Any]) -> None:
        """Write the figures of the run, and remove what only an unfinished one needs."""
        content = {"schema_version": SCHEMA_VERSION, **figures}
        write_atomically(self.result, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
        self.tidy()

    def tidy(self) -> None:
        """Remove what only an unfinished run needs, and parts of files that a killed one left."""
        shutil.rmtree(self.work, ignore_errors=True)
        for part in self.path.glob(".*.tmp"):
            part.unlink(missing_ok=True)
