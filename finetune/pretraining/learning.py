"""The steps of a training: batches in, weights that predict the next token out.

Everything that a step depends on follows from its number: its batch, its learning rate. There is no dropout. So a run
that was killed goes on from its last checkpoint with the losses that it would have had.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune.pretraining.distribution import Distribution
from finetune.pretraining.precision import MasterWeights
from finetune.training.checkpoints import complete, keep_only, last_complete, step_of, writing
from pipelines.errors import CinquainError
from pipelines.home import disk_errors, write_atomically

__all__ = ["IGNORED", "Batch", "Journal", "Settings", "learn", "optimizer_for", "rate", "summed_loss"]

IGNORED = -100
"""Target of a token that carries no loss."""
_REPORT = 10
"""Steps between two lines of the log. To read a loss waits for the GPU, which then waits for the next step."""

Batch = Sequence[tuple[Tensor, Tensor]]
"""Passes of one step in one process: tokens and targets, each (rows, length); the targets are the next tokens."""


@dataclass(frozen=True)
class Settings:
    """How is learned; see the recipe for what each value means."""

    steps: int
    learning_rate: float
    warmup: float
    final: float
    weight_decay: float
    betas: tuple[float, float]
    max_grad_norm: float
    evaluate: int
    device: str
    dtype: str
    compiled: bool = False


@dataclass
class Journal:
    """The log of a run, ``pretraining_log.jsonl``: one line of JSON for each entry, of both trainings.

    Attributes:
        path: The file.
        stage: Which training writes: ``text`` or ``chat``.
        show: Called with each new entry.
    """

    path: Path
    stage: str
    show: Callable[[dict[str, Any]], None] = field(default=lambda entry: None)

    def entries(self) -> list[dict[str, Any]]:
        """Entries of this stage; the last line of a killed run may be a part, and is left out."""
        return [entry for entry in self._all() if entry["stage"] == self.stage]

    def add(self, entry: dict[str, Any]) -> None:
        """Add an entry."""
        entry = {"stage": self.stage, **entry}
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(entry, ensure_ascii=False)}\n")
        self.show(entry)

    def rewind(self, step: int) -> None:
        """Take back what a killed run wrote behind its last checkpoint."""
        kept = [entry for entry in self._all() if entry["stage"] != self.stage or entry["step"] <= step]
        write_atomically(self.path, "".join(f"{json.dumps(entry, ensure_ascii=False)}\n" for entry in kept))

    def _all(self) -> list[dict[str, Any]]:
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else ():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found


def learn(
    model: nn.Module,
    batch: Callable[[int], Batch],
    evaluate: Callable[[nn.Module, int], dict[str, Any]],
    settings: Settings,
    checkpoints: Path,
    journal: Journal,
    distribution: Distribution,
    wants_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train a model; its weights are changed.

    Args:
        model: The model, on its device, in float32.
        batch: Passes of the step of a number, from 0 on.
        evaluate: Figures of the model after a number of steps: ``eval_loss``…
        settings: How.
        checkpoints: Folder of the checkpoints; the last whole one is where it goes on.
        journal: Where the figures go.
        distribution: The processes of the run.
        wants_stop: Asked after each step; once it says so, a checkpoint is saved.

    Returns:
        The weights, whole.

    Raises:
        CinquainError: ``training_not_finite``, or the disk is full.
        KeyboardInterrupt: ``wants_stop`` said so before the end.
    """
    dtype = distribution.shard(model, getattr(torch, settings.dtype))
    master = MasterWeights(model, dtype, partial(optimizer_for, settings=settings))
    trained = distribution.wrapped(model)
    done = 0
    losses: list[Tensor] = []  # of the steps that the log does not have yet
    if distribution.first:
        begun = last_complete(checkpoints)
        done = step_of(begun) if begun else 0
        journal.rewind(done)
    done = distribution.agreed(done)
    if done:
        state = torch.load(checkpoints / f"checkpoint-{done}" / "state.pt", map_location="cpu", weights_only=True)
        master.restore(state)
        losses = list(state["losses"].to(settings.device))
        del state
    step = torch.compile(summed_loss) if settings.compiled else summed_loss
    judged = {entry["step"] for entry in journal.entries() if "eval_loss" in entry}
    every, saved = settings.evaluate, done
    read, since = 0, time.perf_counter()
    while True:
        stopping = distribution.any(wants_stop())
        if done % every == 0 or done == settings.steps or stopping:
            if done != saved:
                _save(checkpoints, done, master.state(), losses, distribution)
                saved = done
            if stopping and done < settings.steps:
                raise KeyboardInterrupt
            if done not in judged:
                began = time.perf_counter()
                figures = evaluate(model, done)
                if distribution.first:
                    journal.add({"step": done, **figures})
                since += time.perf_counter() - began  # judging is no training time
        if done == settings.steps:
            return master.whole()
        passes = batch(done)
        learning_rate = rate(done, settings)
        losses.append(_gradients(trained, passes, step, settings.device, distribution))
        master.step(learning_rate, settings.max_grad_norm)
        read += sum(tokens.numel() for tokens, _ in passes) * distribution.count
        done += 1
        if done % _REPORT == 0 or done == settings.steps:
            values = torch.stack(losses).tolist()
            if not all(map(math.isfinite, values)):
                raise CinquainError("training_not_finite", step=done)
            now = time.perf_counter()
            if distribution.first:
                journal.add(
                    {
                        "step": done,
                        "loss": sum(values) / len(values),
                        "learning_rate": learning_rate,
                        "tokens_per_s": round(read / (now - since), 1),
                    }
                )
            losses, read, since = [], 0, now


def summed_loss(model: nn.Module, tokens: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the next tokens in nats, summed over those that carry loss; a scalar, float32."""
    logits = model(tokens)
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def rate(step: int, settings: Settings) -> float:
    """The learning rate of a step: up in a line, then down along half a cosine to its ``final`` share."""
    warmup = max(1, round(settings.warmup * settings.steps))
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * (settings.final + (1 - settings.final) * (1 + math.cos(math.pi * share)) / 2)


def optimizer_for(named: Iterable[tuple[str, Tensor]], settings: Settings) -> torch.optim.AdamW:
    """AdamW in one kernel. Matrices decay; norms do not, which have to stay near one."""
    weights = [weight for _, weight in named]
    groups = [
        {"params": [weight for weight in weights if weight.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [weight for weight in weights if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def _gradients(
    model: nn.Module,
    passes: Batch,
    loss_of: Callable[[nn.Module, Tensor, Tensor], Tensor],
    device: str,
    distribution: Distribution,
) -> Tensor:
    """Gradients of a step; returns its mean loss over all processes."""
    model.train()
    # Passes hold different numbers of trained tokens where rows are chats; DDP takes the mean of the processes.
    trained = sum(int((targets != IGNORED).sum()) for _, targets in passes)
    total = distribution.summed(torch.tensor(float(trained), device=device))
    scale = distribution.count / total.clamp(min=1)
    mean = torch.zeros((), device=device)
    for number, (tokens, targets) in enumerate(passes):
        with nullcontext() if number == len(passes) - 1 else distribution.unsynced(model):
            loss = loss_of(model, tokens.to(device), targets.to(device)) * scale
            loss.backward()
        mean += loss.detach()
    return distribution.summed(mean) / distribution.count


def _save(
    checkpoints: Path, step: int, state: dict[str, Any], losses: list[Tensor], distribution: Distribution
) -> None:
    """Write a checkpoint; the one before goes when it is whole."""
    if distribution.first:
        folder = checkpoints / f"checkpoint-{step}"
        with disk_errors(checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        with writing(folder):
            torch.save({**state, "losses": torch.tensor([float(loss) for loss in losses])}, folder / "state.pt")
        complete(folder)
        keep_only(checkpoints, {step})
    distribution.wait()
