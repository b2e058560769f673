"""The folder of a model from nothing: what lies there, and how it appears.

config.json, model.safetensors, tokenizer.json…   the model in the Llama format: ``--model FOLDER`` takes it
pretraining.json        figures of the finished run and where everything came from, written last
pretraining_log.jsonl   loss of the steps, and loss, bits per byte and samples at each evaluation
loss.png                both as curves
documents.json          what became of the documents
recipe.json             the whole recipe, and the hash that a later run into this folder must have, too
.cinquain-work/         documents, tokens and checkpoints of an unfinished run
"""

import hashlib
import json
import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.data.results import WORK
from finetune.pretraining.recipe import PretrainRecipe
from pipelines.errors import CinquainError, InputError
from pipelines.home import disk_errors, exclusive, write_atomically

if TYPE_CHECKING:
    from pipelines.models.transformer import TransformerModel

__all__ = ["ModelFolder", "save_model"]

SCHEMA_VERSION = 1
_FREE: Any = {"output": True, "training": {"pass_blocks", "device", "compile"}, "samples": True}
"""What decides how fast a run is, or what it shows, and not the model: it may change between two starts."""
_WEIGHTS = "model.safetensors"


class ModelFolder:
    """The folder of a run.

    Attributes:
        path: Where it is: the model's folder.
        work: Folder of unfinished work.
        log: Figures of the steps.
        plot: Curves.
        result: Figures of the finished run.
        documents: Account of the documents.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.work = path, path / WORK
        self.log, self.plot = path / "pretraining_log.jsonl", path / "loss.png"
        self.result, self.documents = path / "pretraining.json", path / "documents.json"
        self._lock_file = path / "recipe.json"

    def held(self) -> AbstractContextManager[None]:
        """Keep other runs out of this folder.

        Raises:
            CinquainError: ``training_in_use``.
        """
        return exclusive(self.path / ".training.lock", CinquainError("training_in_use", out=str(self.path)))

    def claim(self, recipe: PretrainRecipe) -> None:
        """See that this folder belongs to this recipe, or make it so where it is empty.

        Raises:
            InputError: ``pretrain_other_recipe`` with both hashes; ``training_foreign_files`` where files lie there
                that no run of this suite began.
        """
        settings = recipe.model_dump(mode="json", exclude=_FREE)
        identity = hashlib.sha256(json.dumps([SCHEMA_VERSION, settings], sort_keys=True).encode()).hexdigest()
        try:
            found = str(json.loads(self._lock_file.read_bytes())["identity"])
        except (OSError, ValueError, KeyError, TypeError):
            names = (_WEIGHTS, "config.json", "adapter_config.json", self.result.name)
            if there := [name for name in names if (self.path / name).exists()]:
                raise InputError("training_foreign_files", out=str(self.path), files=there) from None
        else:
            if found != identity:
                raise InputError("pretrain_other_recipe", out=str(self.path), found=found[:12], wanted=identity[:12])
            return
        lock = {"schema_version": SCHEMA_VERSION, "identity": identity, "recipe": recipe.model_dump(mode="json")}
        write_atomically(self._lock_file, json.dumps(lock, ensure_ascii=False, indent=1) + "\n")

    def release(self) -> None:
        """Give the folder back: nothing was learned yet, and the recipe has to change."""
        self.tidy()
        for path in (self._lock_file, self.documents):
            path.unlink(missing_ok=True)

    def finished(self) -> dict[str, Any] | None:
        """Figures of the finished run; None where there is none yet."""
        try:
            figures: dict[str, Any] = json.loads(self.result.read_bytes())
        except (OSError, ValueError):
            return None
        return figures

    def publish(self, staged: Path) -> None:
        """Move a model to where it belongs, the weights last: a folder without them is no model."""
        with disk_errors(self.path):
            names = sorted((path.name for path in staged.iterdir()), key=lambda name: name == _WEIGHTS)
            for name in names:
                (staged / name).replace(self.path / name)

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


def save_model(model: "TransformerModel", tokenizer: Any, folder: Path, context: int, *, chats: bool) -> None:
    """Write a model in the Llama format, with how it is to generate; the folder appears by one rename.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        folder: Where to; what is there is replaced.
        context: Tokens that it reads at once.
        chats: Whether it learned to answer; one that did not has no chat template.
    """
    from transformers import GenerationConfig

    from pipelines.models.conversion import quiet_transformers
    from pipelines.models.llama_format import save_llama

    staged = folder.with_name(f".{folder.name}.tmp")
    with disk_errors(folder):
        for path in (staged, folder):
            shutil.rmtree(path, ignore_errors=True)
        with quiet_transformers():
            save_llama(model.cpu().float(), tokenizer, staged, context)
        ends = [tokenizer.eos_token_id, tokenizer.bos_token_id] if chats else [tokenizer.bos_token_id]
        GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
            do_sample=True,
            temperature=0.8,
            top_p=0.95,
        ).save_pretrained(staged)
        for path in staged.iterdir():
            path.chmod((staged / "config.json").stat().st_mode)  # safetensors makes 0600, too narrow for a model
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        staged.replace(folder)
