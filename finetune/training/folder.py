"""The folder of a run: what lies there, whose it is, and how a run that was killed finds its way back.

adapter_model.safetensors   the adapter, with adapter_config.json (PEFT) and cinquain_adapter.json (what it was
trained on and with): ``--adapter FOLDER`` serves it
training.json               figures of the finished run, written last
training_log.jsonl          loss of every step, and of the held-out rows at every evaluation
loss.png                    both as curves
recipe.json                 the whole recipe, and the hash that a later run into this folder must have, too
data/                       the prepared rows and their ledger
.cinquain-work/             checkpoints and tokens of an unfinished run
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetune.data.results import WORK
from finetune.data.row import Row
from finetune.recipe import Recipe
from pipelines.errors import CinquainError, InputError
from pipelines.home import disk_errors, exclusive, write_atomically

__all__ = ["RunFolder", "identity_of"]

SCHEMA_VERSION = 1

# What decides how fast a run is, or what is done with its result, and not what that is: it may change between two
# starts of one run.
_FREE: Any = {
    "output": True,
    "compare": True,
    "training": {"pass_tokens", "packed", "gradient_checkpointing", "trackers", "device"},
}


def identity_of(recipe: Recipe, base_sha256: str, planted: Sequence[Row] = ()) -> str:
    """A hash over everything in a recipe that decides the adapter, in hexadecimal.

    The content of the files that it names is not part of it: the ledger of ``data/`` keeps to that.

    Args:
        recipe: The recipe.
        base_sha256: Hash of the base model's weights.
        planted: Rows that are trained on besides those of the recipe.
    """
    settings = recipe.model_dump(mode="json", exclude=_FREE)
    parts = [SCHEMA_VERSION, settings, base_sha256, [row.to_json() for row in planted]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class RunFolder:
    """The folder of a run.

    Args:
        path: Where it is.

    Attributes:
        path: Where it is: the adapter's folder.
        data: Prepared rows.
        work: Folder of unfinished work.
        checkpoints: Folder of the checkpoints.
        log: Figures of every step.
        plot: Curves.
        result: Figures of the finished run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "data"
        self.work = path / WORK
        self.checkpoints = self.work / "checkpoints"
        self.log = path / "training_log.jsonl"
        self.plot = path / "loss.png"
        self.result = path / "training.json"
        self._lock_file = path / "recipe.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out of this folder.

        Raises:
            CinquainError: ``training_in_use``.
        """
        with exclusive(self.path / ".training.lock", CinquainError("training_in_use", out=str(self.path))):
            yield

    def claim(self, recipe: Recipe, identity: str) -> None:
        """See that this folder belongs to this recipe, or make it so where it is empty.

        Raises:
            InputError: ``training_other_recipe`` with both hashes; ``training_foreign_files`` where files lie there
                that no run of this suite began.
        """
        try:
            found = str(json.loads(self._lock_file.read_bytes())["identity"])
        except (OSError, ValueError, KeyError, TypeError):
            names = ("adapter_model.safetensors", "adapter_config.json", "config.json", self.result.name)
            if there := [name for name in names if (self.path / name).exists()]:
                raise InputError("training_foreign_files", out=str(self.path), files=there) from None
        else:
            if found != identity:
                raise InputError("training_other_recipe", out=str(self.path), found=found[:12], wanted=identity[:12])
            return
        lock = {"schema_version": SCHEMA_VERSION, "identity": identity, "recipe": recipe.model_dump(mode="json")}
        write_atomically(self._lock_file, json.dumps(lock, ensure_ascii=False, indent=1) + "\n")

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

    def publish(self, checkpoint: Path) -> None:
        """Put the adapter of a checkpoint in its place, the weights last: a folder without them is no adapter."""
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            with disk_errors(self.path):
                content = (checkpoint / name).read_bytes()
            write_atomically(self.path / name, content)

    def rewind(self, step: int, judged: set[int]) -> None:
        """Take back the lines of the log that a killed run wrote behind its last checkpoint.

        Args:
            step: Step of the checkpoint; 0 for a run that begins anew.
            judged: Steps whose evaluations the checkpoint knows.
        """
        if not self.log.is_file():
            return
        kept = [
            entry
            for entry in self.entries()
            if (entry["step"] in judged if "eval_loss" in entry else entry["step"] <= step)
        ]
        write_atomically(self.log, "".join(f"{json.dumps(entry)}\n" for entry in kept))

    def add(self, entry: dict[str, Any]) -> None:
        """Add a line to the log."""
        with disk_errors(self.log), self.log.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(entry)}\n")

    def entries(self) -> list[dict[str, Any]]:
        """Lines of the log; the last one of a killed run may be a part, and is left out."""
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines() if self.log.is_file() else ():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found
