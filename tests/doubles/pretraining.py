"""Recipes for models from nothing that are trained in seconds, and what their runs leave behind."""

import json
from pathlib import Path
from typing import Any

from finetune.pretraining.recipe import PretrainRecipe
from finetune.recipe import parsed_recipe

ROOT = Path(__file__).resolve().parent.parent.parent


def small_recipe(folder: Path, **changes: Any) -> PretrainRecipe:
    """A recipe for a model of 50,000 weights that reads 80 steps of rhymes.

    Args:
        folder: Where the output goes.
        changes: Dotted names, with two underscores for the dot: ``training__max_steps=3``.
    """
    data: dict[str, Any] = {
        "output": str(folder),
        "documents": {"sources": [{"path": "rhymes:300", "group": "doc"}], "held_out": 0.1},
        "tokenizer": {"vocabulary": 400},
        "model": {"embedding_dim": 32, "num_heads": 2, "num_layers": 2},
        "blocks": {"length": 128},
        "training": {
            "max_steps": 20, "batch_size": 4, "learning_rate": 1e-2, "evaluate": 5, "evaluation_blocks": 4,
            "device": "cpu", "dtype": "float32",
        },
        "samples": {"tokens": 8},
        "chat": {
            "rows": {"creative_writing": ["documents"]}, "excerpt": 200, "max_steps": 6, "evaluate": 3,
            "batch_size": 8,
        },
    }  # fmt: skip
    for name, value in changes.items():
        *parents, last = name.split("__")
        place = data
        for parent in parents:
            place = place[parent]
        place[last] = value
    return parsed_recipe(PretrainRecipe, data)


def curves(out: Path) -> list[tuple[Any, ...]]:
    """What a run wrote of its losses, without what depends on the time."""
    entries = [json.loads(line) for line in (out / "pretraining_log.jsonl").read_text("utf-8").splitlines()]
    names = ("stage", "step", "loss", "eval_loss", "bits_per_byte", "samples", "tasks")
    kept = [tuple(json.dumps(entry.get(name)) for name in names) for entry in entries if "processor_s" not in entry]
    return sorted(set(kept), key=lambda entry: (entry[0] != '"text"', int(entry[1]), entry))
