"""LoRA training at 512 to 8,192 tokens: the suite, plain transformers with PEFT, and TRL. `make bench-train-gpu`.

A model of 1.2 billion random parameters (``build_model.py``), rows of random tokens of one length whose second half
carries loss, the same adapter, optimizer and number of rows in a step for all three. One process, in turn; what runs
out of memory is said to. A table comes first: tokens a second, the most memory that torch held, and MFU, the share of
the matmul speed that this device reaches here. Its last line is one JSON object.

Operations of a token with a frozen base: 2 for each weight forward and 2 backward, none for gradients of weights, and
6 x layers x width x length for causal attention. What is computed twice (gradient checkpointing) does not count.

Everything runs on a processor too, with ``--device cpu --tiny``: that is how the script is tested.
"""

import argparse
import gc
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from build_model import SHAPE, build
from speed import machine
from training import Clock, fresh
from transformers import PrinterCallback, Trainer, TrainingArguments

from finetune.data.rendering import Rendered
from finetune.recipe import Recipe, parse_recipe
from finetune.training.arguments import pass_tokens, trainer_arguments
from finetune.training.examples import Examples, write_examples
from finetune.training.run import training_device
from finetune.training.trainer import AdapterTrainer
from pipelines.engines.free_memory import give_back, is_out_of_memory

TINY = {
    "vocab_size": 1200, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 8192,
}  # fmt: skip


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--lengths", type=int, nargs="*", default=[512, 2048, 8192])
    parser.add_argument("--tokens", type=int, default=16384, help="tokens of a step: rows times their length")
    parser.add_argument("--steps", type=int, default=5, help="the first is not counted")
    parser.add_argument("--folder", default=".bench-model", help="where the model is built")
    parser.add_argument("--tiny", action="store_true", help="two small layers instead, to try the script")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    model = build(options.folder, **(TINY if options.tiny else {}))
    sides: dict[str, Callable[..., Clock]] = {"cinquain": ours, "transformers+peft": plain}
    if find_spec("trl"):
        sides["trl"] = trl
    result: dict[str, Any] = {"schema_version": 1, "shape": TINY if options.tiny else SHAPE, "lengths": {}}
    with tempfile.TemporaryDirectory() as folder:
        for length in options.lengths:
            rows = max(1, options.tokens // length)
            recipe = configured(str(model), options.device, rows, options.steps)
            examples = made_up(Path(folder) / str(length), rows * options.steps, length)
            result["lengths"][length] = {
                name: measured(side, recipe, examples, length, folder) for name, side in sides.items()
            }
            for name, found in result["lengths"][length].items():
                figures = "  ".join(f"{key} {value}" for key, value in found.items())
                print(f"{length:6} {name:18} {figures}", flush=True)
    packages = ("torch", "transformers", "peft", "accelerate", *(["trl"] if "trl" in sides else []))
    result |= {"machine": machine(), "versions": {name: version(name) for name in packages}}
    print(json.dumps(result))


def configured(model: str, device: str, rows: int, steps: int) -> Recipe:
    """The recipe of all sides."""
    training = {
        "max_steps": steps, "batch_size": rows, "device": device, "evaluate": 10**6, "learning_rate": 2e-4,
        "packed": "off",
    }  # fmt: skip
    data = {"sources": [{"path": "-"}]}
    return parse_recipe({"task": "dialogue", "model": model, "output": "-", "data": data, "training": training})


def made_up(folder: Path, count: int, length: int) -> Examples:
    """Rows of random tokens."""
    draw = torch.Generator().manual_seed(0)
    half = length // 2
    rows = (
        Rendered(torch.randint(10, 1000, (length,), generator=draw).tolist(), [False] * half + [True] * (length - half))
        for _ in range(count)
    )
    return write_examples(folder, rows)


def measured(
    side: Callable[..., Clock], recipe: Recipe, examples: Examples, length: int, folder: str
) -> dict[str, float | str | None]:
    """Tokens a second, memory and MFU of one side; or that it ran out of memory."""
    choice = training_device(recipe)
    cuda = choice.kind == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(choice.device)
    try:
        clock = side(recipe, examples, folder)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return {"result": "out of memory"}
    finally:
        gc.collect()
        give_back(choice.device)
    rate = recipe.training.batch_size * length * (len(clock.seconds) - 1) / sum(clock.seconds[1:])
    base = fresh(recipe).get_base_model()
    config, weights = base.config, sum(each.numel() for each in base.parameters() if not each.requires_grad)
    operations = 4 * weights + 6 * config.num_hidden_layers * config.hidden_size * length
    return {
        "tokens_per_s": round(rate, 1),
        "peak_gb": round(torch.cuda.max_memory_allocated(choice.device) / 1e9, 2) if cuda else None,
        "mfu": round(rate * operations / matmul_speed(choice.device), 4),
        "loss": round(clock.losses[-1], 4),
    }


def matmul_speed(device: str, seconds: float = 0.5) -> float:
    """Operations a second of large bfloat16 products on this device: what MFU is a share of."""
    size = 8192 if device.startswith("cuda") else 512
    left = right = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        left @ right
        count += 1
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
    return count * 2 * size**3 / (time.perf_counter() - began)


def ours(recipe: Recipe, examples: Examples, folder: str) -> Clock:
    """As `cinquain finetune` trains."""
    choice, clock = training_device(recipe), Clock()
    arguments = trainer_arguments(recipe.training, choice, Path(folder), len(examples), gaps=False)
    arguments.save_strategy = "no"
    tokens = max(pass_tokens(recipe.training, choice), int(examples.lengths.max()))
    nothing = write_examples(Path(folder) / "nothing", [])
    trainer = AdapterTrainer(
        model=fresh(recipe), args=arguments, train=examples, validation=nothing, pad=0, pass_tokens=tokens,
        batch_size=recipe.training.batch_size,
    )  # fmt: skip
    return run(trainer, clock)


def plain(recipe: Recipe, examples: Examples, folder: str) -> Clock:
    """Trainer as it comes, on the same adapter: all logits, no checkpointing."""
    rows = []
    for row in (examples[place] for place in range(len(examples))):
        labels = [int(token) if kept else -100 for token, kept in zip(row.tokens, row.labels, strict=True)]
        rows.append({"input_ids": row.tokens.tolist(), "labels": labels})

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        return {name: torch.tensor([row[name] for row in batch]) for name in batch[0]}

    trainer = Trainer(
        model=fresh(recipe), args=TrainingArguments(**common(recipe, folder)), train_dataset=rows, data_collator=collate
    )
    trainer.remove_callback(PrinterCallback)
    return run(trainer, Clock())


def trl(recipe: Recipe, examples: Examples, folder: str) -> Clock:
    """TRL as it comes."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = [examples[place] for place in range(len(examples))]
    data = Dataset.from_list(
        [{"input_ids": row.tokens.tolist(), "completion_mask": row.labels.astype(int).tolist()} for row in rows]
    )
    arguments = SFTConfig(**common(recipe, folder), max_length=None, completion_only_loss=True)
    trainer = SFTTrainer(
        model=fresh(recipe), args=arguments, train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(recipe.model),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return run(trainer, Clock())


def common(recipe: Recipe, folder: str) -> dict[str, Any]:
    """What the other two are told; the rest is their default."""
    training, choice = recipe.training, training_device(recipe)
    return {
        "output_dir": folder, "per_device_train_batch_size": training.batch_size, "max_steps": training.max_steps,
        "learning_rate": training.learning_rate, "use_cpu": choice.kind == "cpu", "bf16": choice.dtype == "bfloat16",
        "logging_steps": 1, "save_strategy": "no", "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip


def run(trainer: Any, clock: Clock) -> Clock:
    """Train, and give back what the clock saw."""
    trainer.add_callback(clock)
    trainer.train()
    return clock


if __name__ == "__main__":
    main()
