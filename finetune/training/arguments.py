"""What transformers' Trainer is told: the recipe's numbers, and nothing that would change them in silence."""

import math
from pathlib import Path
from typing import Any

from finetune.recipe import TrainingConfig
from pipelines.engines.device import DeviceChoice

__all__ = ["pass_tokens", "steps_between_evaluations", "total_steps", "trainer_arguments"]

_PASS_TOKENS = {"cpu": 512, "mps": 4096, "cuda": 16384}
"""Padded tokens of one forward pass where the recipe does not say it. On a processor larger ones are no faster, and pad
more: 16 translations took 13.8 s of its time in passes of 512 tokens, and 20.6 s in passes of 2,048."""


def total_steps(config: TrainingConfig, examples: int) -> int:
    """Optimizer steps of the whole run."""
    return config.max_steps or math.ceil(config.epochs * math.ceil(examples / config.batch_size))


def steps_between_evaluations(config: TrainingConfig, total: int) -> int:
    """Optimizer steps between two evaluations, and between two checkpoints."""
    return config.evaluate or max(1, total // 20)


def pass_tokens(config: TrainingConfig, choice: DeviceChoice) -> int:
    """Most padded tokens of one forward pass."""
    return config.pass_tokens or _PASS_TOKENS[choice.kind]


def trainer_arguments(
    config: TrainingConfig, choice: DeviceChoice, checkpoints: Path, examples: int, *, gaps: bool
) -> Any:
    """Arguments of Trainer.

    Args:
        config: The recipe's part on training.
        choice: Device and number format.
        checkpoints: Folder of the checkpoints.
        examples: How many there are to learn from.
        gaps: Whether a pass may leave layers of the model out (experts, layer drop).
    """
    from transformers import TrainingArguments

    total = total_steps(config, examples)
    return TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=1,  # one item of the loader is a whole step, see batches.py
        gradient_accumulation_steps=1,
        max_steps=total,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=config.warmup,  # below 1 it is a share of all steps
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        use_cpu=choice.kind == "cpu",
        # Weights are loaded in bfloat16; autocast has the adapter, whose own weights are float32, multiply in it, too.
        bf16=choice.dtype == "bfloat16",
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would show the mean of the steps before instead of a loss that is not finite
        eval_strategy="steps",
        eval_steps=steps_between_evaluations(config, total),
        save_strategy="steps",
        save_steps=steps_between_evaluations(config, total),
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        report_to=list(config.trackers) or "none",
        disable_tqdm=True,
        dataloader_pin_memory=False,  # a step's tokens are kilobytes
        ddp_find_unused_parameters=gaps,
        # Processes run different numbers of passes, and the buffers are constants: waiting for them would never end.
        ddp_broadcast_buffers=False,
    )
