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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.data.row import Row
from finetune.owned_folder import SCHEMA_VERSION, OwnedFolder
from finetune.recipe import Recipe
from pipelines.home import disk_errors, write_atomically

__all__ = ["RunFolder", "identity_of"]

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


class RunFolder(OwnedFolder):
    """The folder of a run that trains an adapter.

    Args:
        path: Where it is: the adapter's folder.

    Attributes:
        data: Prepared rows.
        checkpoints: Folder of the checkpoints.
        log: Figures of every step.
    """

    def __init__(self, path: Path) -> None:
        foreign = ("adapter_model.safetensors", "adapter_config.json", "config.json")
        super().__init__(path, "training.json", foreign, "training_other_recipe")
        self.data = path / "data"
        self.checkpoints = self.work / "checkpoints"
        self.log = path / "training_log.jsonl"

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
