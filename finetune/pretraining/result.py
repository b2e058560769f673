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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.owned_folder import SCHEMA_VERSION, OwnedFolder
from finetune.pretraining.recipe import PretrainRecipe
from pipelines.home import disk_errors

if TYPE_CHECKING:
    from pipelines.models.transformer import TransformerModel

__all__ = ["ModelFolder", "identity_of", "save_model"]

_FREE: Any = {"output": True, "training": {"pass_blocks", "device", "compile"}, "samples": True}
"""What decides how fast a run is, or what it shows, and not the model: it may change between two starts."""
_WEIGHTS = "model.safetensors"


class ModelFolder(OwnedFolder):
    """The folder of a run that makes a model.

    Args:
        path: Where it is: the model's folder.

    Attributes:
        log: Figures of the steps.
        documents: Account of the documents.
    """

    def __init__(self, path: Path) -> None:
        foreign = (_WEIGHTS, "config.json", "adapter_config.json")
        super().__init__(path, "pretraining.json", foreign, "pretrain_other_recipe")
        self.log, self.documents = path / "pretraining_log.jsonl", path / "documents.json"

    def release(self) -> None:
        """Give the folder back: nothing was learned yet, and the recipe has to change."""
        self.tidy()
        for path in (self.lock, self.documents):
            path.unlink(missing_ok=True)

    def publish(self, staged: Path) -> None:
        """Move a model to where it belongs, the weights last: a folder without them is no model."""
        with disk_errors(self.path):
            names = sorted((path.name for path in staged.iterdir()), key=lambda name: name == _WEIGHTS)
            for name in names:
                (staged / name).replace(self.path / name)


def identity_of(recipe: PretrainRecipe) -> str:
    """A hash over everything in a recipe that decides the model, in hexadecimal."""
    settings = recipe.model_dump(mode="json", exclude=_FREE)
    return hashlib.sha256(json.dumps([SCHEMA_VERSION, settings], sort_keys=True).encode()).hexdigest()


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
