"""Recipes for tiny models: rows that they can learn in seconds, and what their runs leave behind."""

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from finetune.finetuning import finetune
from finetune.recipe import Recipe, parse_recipe
from tests.doubles.tiny import CHAT_TEMPLATE, PAIRS, tiny_chat_model, tiny_llama, tiny_tokenizer
from tests.doubles.tiny_adapters import turned

THINKING = CHAT_TEMPLATE.replace(
    "<|assistant|>{% endif %}", "<|assistant|>{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""The template of a model that thinks before it answers, unless it is told not to."""


def conversations(count: int = 12) -> list[dict[str, Any]]:
    """Questions that the tiny chat model knows, each with the answer of another one; a number makes them differ."""
    return [
        {"messages": [{"role": "user", "content": f"{question} ({number})"}, {"role": "assistant", "content": answer}]}
        for number in range(count)
        for question, answer in turned(1)
    ]


def tiny_recipe(base: Path | str, folder: Path, **changes: Any) -> Recipe:
    """A recipe that trains a tiny chat model for ten steps.

    Args:
        base: Folder of the model, or another reference.
        folder: Where rows and output go.
        changes: Dotted names, with two underscores for the dot: ``training__max_steps=3``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rows.jsonl"
    if not path.exists():
        path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in conversations()))
    data: dict[str, Any] = {
        "task": "dialogue",
        "model": str(base),
        "output": str(folder / "out"),
        "data": {
            "sources": [{"path": str(path)}],
            "split": {"validation": 0.2},
            "language": False,
            "repair": False,
            "personal_data": "keep",
            "duplicates": {"near": None},
        },
        "adapter": {"rank": 8},
        "training": {
            "max_steps": 10, "batch_size": 8, "learning_rate": 1e-2, "evaluate": 3, "patience": 0, "dtype": "float32",
            "device": "cpu",
        },
    }  # fmt: skip
    for name, value in changes.items():
        *parents, last = name.split("__")
        place = data
        for parent in parents:
            place = place[parent]
        place[last] = value
    return parse_recipe(data)


def losses(out: Path) -> list[tuple[int, str, float]]:
    """The curves of a run, without what depends on the time."""
    entries = [json.loads(line) for line in (out / "training_log.jsonl").read_text().splitlines()]
    return [(entry["step"], name, entry[name]) for entry in entries for name in ("loss", "eval_loss") if name in entry]


def weights(out: Path) -> dict[str, Any]:
    """The adapter's weights, as bytes that can be compared."""
    return {name: value.tobytes() for name, value in load_file(out / "adapter_model.safetensors").items()}


QUESTIONS = [f"{question} ({number})" for number in (0, 5) for question, _ in PAIRS]
"""Questions that were trained on."""


def folder_of(folder: Path, template: str | None) -> str:
    """The folder of a tiny Llama with random weights and this chat template; none for a base model."""
    tokenizer = tiny_tokenizer(["Hello there. one two three four five Count to five, please. <think> </think>"])
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    tiny_llama(len(tokenizer)).save_pretrained(folder)
    return str(folder)


def finished_adapter(folder: Path, model: str | None = None) -> Path:
    """An adapter that ``finetune`` trained for some steps on a model, or a tiny one, and judged on four rows."""
    base = model or tiny_chat_model(folder / "base" / "tiny")
    changes = {
        "training__max_steps": 6, "training__evaluate": 3, "data__split": {"validation": 0.1, "test": 0.3},
        "compare": {"rows": 4, "max_new_tokens": 8, "canaries": 0},
    }  # fmt: skip
    done = finetune(tiny_recipe(base, folder / "run", **changes))
    assert done is not None
    return done.folder
