"""LoRA training by the suite against TRL's SFTTrainer with its defaults. `make bench-train`.

The same rows in the same steps, the same base, adapter and learning rate, in one process and in turn (A B A B …), so
that a machine whose speed drifts slows both. What counts is how fast the same rows are learned: tokens of the rows in a
second, padding left out. The losses of each step stand beside each other. A table comes first, and the last line is one
JSON object.

TRL keeps what it does by itself: autocast in bfloat16, activations computed twice, padding to the longest row of a
step, loss on the reply only. It needs `pip install trl==1.16.0`.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from speed import machine
from transformers import PrinterCallback, TrainerCallback

from finetune.data.prepare import prepare
from finetune.data.rendering import Renderer
from finetune.recipe import Recipe, parse_recipe
from finetune.training.adapter import load_base, with_adapter
from finetune.training.arguments import pass_tokens, trainer_arguments
from finetune.training.batches import Steps
from finetune.training.examples import Examples
from finetune.training.packing import packs
from finetune.training.prepared import prepared_examples
from finetune.training.run import training_device
from finetune.training.trainer import AdapterTrainer
from pipelines.models import resolve
from pipelines.models.shape import shape_of


class Clock(TrainerCallback):
    """Seconds and loss of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self._began = 0.0

    def on_step_begin(self, *arguments: Any, **keywords: Any) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_step_end(self, *arguments: Any, **keywords: Any) -> None:
        """Stop it."""
        self.seconds.append(time.perf_counter() - self._began)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **keywords: Any
    ) -> None:
        """Keep the loss."""
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])


def fresh(recipe: Recipe) -> Any:
    """The base with an adapter whose first weights are always the same."""
    source = resolve(recipe.model)
    return with_adapter(load_base(source, training_device(recipe)), source, recipe.adapter, recipe.training.seed)


def ours(recipe: Recipe, train: Examples, nothing: Examples, pad: int, folder: str) -> Clock:
    """Steps of the suite, as `cinquain finetune` runs them."""
    choice, clock, model = training_device(recipe), Clock(), fresh(recipe)
    arguments = trainer_arguments(recipe.training, choice, Path(folder), len(train), gaps=False)
    arguments.save_strategy = "no"
    packed = packs(recipe.training.packed, model, shape_of(resolve(recipe.model)), train, choice)
    trainer = AdapterTrainer(
        model=model, args=arguments, train=train, validation=nothing, batch_size=recipe.training.batch_size,
        pass_tokens=pass_tokens(recipe.training, choice), pad=pad, packed=packed,
    )  # fmt: skip
    trainer.add_callback(clock)
    trainer.train()
    return clock


def trl(recipe: Recipe, train: Examples, tokenizer: Any, folder: str, half: bool | None = None) -> Clock:
    """Steps of TRL over the same rows in the same order; ``half`` is its own choice where None."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    training, clock = recipe.training, Clock()
    order = [place for step in Steps(len(train), training.batch_size, training.seed) for place in step]
    rows = [train[place] for place in order[: training.batch_size * (training.max_steps or 0)]]
    data = Dataset.from_list(
        [{"input_ids": row.tokens.tolist(), "completion_mask": row.labels.astype(int).tolist()} for row in rows]
    )
    same = trainer_arguments(training, training_device(recipe), Path(folder), len(train), gaps=False)
    arguments = SFTConfig(
        output_dir=folder, per_device_train_batch_size=training.batch_size, max_steps=training.max_steps or -1,
        learning_rate=same.learning_rate, lr_scheduler_type=same.lr_scheduler_type, warmup_steps=same.warmup_steps,
        max_grad_norm=same.max_grad_norm, seed=same.seed, use_cpu=same.use_cpu, logging_steps=1, save_strategy="no",
        report_to="none", disable_tqdm=True, train_sampling_strategy="sequential", max_length=None, bf16=half,
        completion_only_loss=True,  # what it takes by itself for rows with a prompt and a completion
    )  # fmt: skip
    trainer = SFTTrainer(model=fresh(recipe), args=arguments, train_dataset=data, processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(clock)
    trainer.train()
    return clock


def compare(recipe: Recipe, rounds: int, folder: str, alone: bool = False, half: bool | None = None) -> dict[str, Any]:
    """Tokens of the rows in a second on both sides, or ours alone, and how far the losses of a step are apart."""
    ledger = prepare(recipe.data, Path(folder) / "data")
    renderer = Renderer.load(recipe.model, recipe.task)
    examples = prepared_examples(Path(folder) / "data", ledger, renderer, Path(folder), 1)
    train, size, steps = examples.train, recipe.training.batch_size, recipe.training.max_steps or 0
    order = [place for step in Steps(len(train), size, recipe.training.seed) for place in step]
    tokens = [int(train.lengths[order[start : start + size]].sum()) for start in range(0, steps * size, size)]
    pad = renderer.tokenizer.pad_token_id or 0
    figures: dict[str, list[float]] = {"ours": [], "trl": []}
    apart: list[float] = []
    for _ in range(rounds):
        sides = {"ours": ours(recipe, train, examples.validation, pad, folder)}
        if not alone:
            sides["trl"] = trl(recipe, train, renderer.tokenizer, folder, half)
            pairs = zip(sides["ours"].losses, sides["trl"].losses, strict=True)
            apart += [abs(first - second) / second for first, second in pairs]
        # The first step of each also allocates its memory.
        for name, clock in sides.items():
            figures[name].append(sum(tokens[1:]) / sum(clock.seconds[1:]))
        print(f"{'':36}" + "".join(f"{figures[name][-1]:10.1f}" for name in sides), flush=True)
    ratios = [first / second for first, second in zip(figures["ours"], figures["trl"], strict=False)]
    return {
        "tokens_per_s": figures,
        "ratio": statistics.median(ratios) if ratios else None,
        "loss_apart": {"largest": max(apart), "mean": statistics.mean(apart)} if apart else None,
        "losses": {name: clock.losses for name, clock in sides.items()},
        "rows_per_step": size,
        "tokens_per_row": float(train.lengths.mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="shipped:translation", help="a source of rows, as in a recipe")
    parser.add_argument("--task", default="translation")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=8, help="rows of a step; 8 is what Trainer takes by itself")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--trl-float32",
        action="store_true",
        help="TRL without bfloat16: its default is slow on processors without such instructions",
    )
    parser.add_argument("--alone", action="store_true", help="our side only; TRL need not be installed")
    arguments = parser.parse_args()
    if arguments.steps < 2:
        parser.error("the first step is not counted: --steps 2 is the least")
    warnings.simplefilter("ignore")
    data = {"sources": [{"path": arguments.rows}], "split": {"validation": 0.0}}
    training = {
        "max_steps": arguments.steps, "batch_size": arguments.batch, "device": arguments.device, "evaluate": 10**6,
    }  # fmt: skip
    given = {"task": arguments.task, "model": arguments.model, "output": "-", "data": data, "training": training}
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        recipe = parse_recipe(given)
        print(f"{'tokens/s':36}{'ours':>10}{'TRL':>10}", flush=True)
        found = compare(recipe, arguments.rounds, folder, arguments.alone, False if arguments.trl_float32 else None)
    if apart := found["loss_apart"]:
        print(f"{'median of the ratios':36}{found['ratio']:10.2f}")
        print(f"{'losses apart, largest and mean':36}{apart['largest']:10.4f}{apart['mean']:10.4f}")
    packages = ("peft", "accelerate") if arguments.alone else ("peft", "accelerate", "trl")
    result = {
        "schema_version": 1,
        "load_before": before,
        "trl_float32": arguments.trl_float32,
        "training": found,
        "dtype": training_device(recipe).dtype,
        "versions": {name: version(name) for name in packages},
        "machine": machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
