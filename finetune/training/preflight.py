"""Before the first step: will it fit, how fast is it, how long will it take. Counted first, then measured.

A run that ends at its longest row after a night, or in its first evaluation, has cost a night. So the longest rows come
first: one step on them and one evaluation, whose results are thrown away. Random numbers that they draw are given back,
so that a run with another memory is the same run.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from eval.energy import EnergyMeter
from finetune.recipe import Recipe
from finetune.training.examples import Examples
from finetune.training.memory import Need, Step, changes_that_fit, memory_of
from finetune.training.prepared import PreparedExamples
from pipelines.engines.device import DeviceChoice
from pipelines.engines.free_memory import give_back, is_out_of_memory
from pipelines.errors import InputError
from pipelines.models.memory import gigabytes
from pipelines.models.shape import ModelShape

__all__ = ["Measured", "Preflight", "resident"]

_SECONDS = 20.0
"""After this long no further pass of the step is tried: the first one is the largest, and shows the memory."""


@dataclass(frozen=True)
class Measured:
    """What the step took.

    Attributes:
        bytes: Most memory, beyond what the process held before the model was loaded; None where it cannot be told.
        tokens: Tokens that were read, without padding.
        seconds: How long that took.
        evaluation_seconds: How long the evaluation took; None without held-out rows.
        joules: Energy; None where the machine does not tell.
    """

    bytes: int | None
    tokens: int
    seconds: float
    evaluation_seconds: float | None
    joules: float | None


class Preflight:
    """Decides how a step is computed, and tries it.

    Args:
        recipe: What is wanted.
        choice: Where it is computed.
        shape: What the base is made of; None where that cannot be told, and nothing is counted.
        examples: Rows to learn from and to judge by.
        free: Bytes that were free before the model was loaded.
        held: Bytes that the process held before the model was loaded.
        pad: Id that pads.
        pass_tokens: Most padded tokens of a pass, as the recipe or the device has it.
        packed: Whether rows are laid end to end.
    """

    def __init__(
        self,
        recipe: Recipe,
        choice: DeviceChoice,
        shape: ModelShape | None,
        examples: PreparedExamples,
        free: int,
        held: int,
        pad: int,
        pass_tokens: int,
        packed: bool,
    ) -> None:
        self._recipe, self._choice, self._shape, self._examples = recipe, choice, shape, examples
        self._free, self._held, self._pad, self._packed = free, held, pad, packed
        lengths, trained = examples.train.lengths, examples.train.trained
        longest = int(lengths.max())
        self.step = Step(
            choice,
            max(pass_tokens, longest),
            longest,
            trained=int(max(trained.max(), max(pass_tokens, longest) * (trained / lengths).max())),
            checkpointing=recipe.training.gradient_checkpointing == "on",
        )
        self.need: Need | None = None
        self.measured: Measured | None = None

    def run(self, model: Any, summed_loss: Callable[[Any, dict[str, Any]], Any]) -> None:
        """Find a way that fits, and try it on the longest rows.

        Args:
            model: The base with its adapter.
            summed_loss: Loss of one pass.

        Raises:
            InputError: ``training_memory_try`` with the smallest change that fits, ``training_memory`` where none does.
        """
        trainable = sum(each.numel() for each in model.parameters() if each.requires_grad)
        free = self._free
        while True:
            if self._shape:
                self._decide(trainable, free)
            if self.step.checkpointing:
                _compute_twice(model)
            try:
                self.measured = self._try(model, summed_loss)
                return
            except Exception as error:
                if not is_out_of_memory(error) or self.need is None:
                    raise
            model.zero_grad()
            give_back(self._choice.device)
            free = self.need.total - 1  # it does not fit, whatever was counted

    def _decide(self, trainable: int, free: int) -> None:
        shape = self._shape
        assert shape is not None

        def need(step: Step) -> Need:
            return memory_of(shape, trainable, self._recipe.adapter, step)

        training = self._recipe.training
        quantizable = self._choice.kind == "cuda" and not shape.gguf and shape.stored is None
        changes = changes_that_fit(self.step, free, need, quantizable=quantizable)
        figures = {
            "model": self._recipe.model,
            "device": self._choice.device,
            "needed": gigabytes(need(self.step).total),
            "weights": gigabytes(need(self.step).weights),
            "free": gigabytes(max(0, free)),
            "longest": self.step.longest,
        }
        if changes is None:
            raise InputError("training_memory", **figures)
        own = {
            "training.pass_tokens": training.pass_tokens is None,
            "training.gradient_checkpointing": training.gradient_checkpointing == "auto",
        }
        if not all(own.get(name) for name in changes):
            fitting = " ".join(f"{name}={value}" for name, value in changes.items())
            raise InputError("training_memory_try", fitting=fitting, **figures)
        self.step = replace(
            self.step,
            pass_tokens=changes.get("training.pass_tokens", self.step.pass_tokens),
            checkpointing=self.step.checkpointing or "training.gradient_checkpointing" in changes,
        )
        self.need = need(self.step)

    def _try(self, model: Any, summed_loss: Callable[[Any, dict[str, Any]], Any]) -> Measured:
        import torch

        from finetune.training.batches import Collator

        places = _largest(self._examples.train, self._recipe.training.batch_size)
        batch = Collator(self._examples.train, self.step.pass_tokens, self._pad, packed=self._packed)(places)
        device = torch.device(self._choice.device)
        half = self._choice.dtype == "bfloat16"
        devices = [device] if device.type == "cuda" else []
        read = 0
        model.to(device)

        def pass_of(part: dict[str, Any]) -> Any:
            part = {name: value.to(device) for name, value in part.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                loss = summed_loss(model, part)
            loss.backward()
            return loss

        with torch.random.fork_rng(devices), _peak(self._choice) as peak:
            model.train()
            if devices:
                float(pass_of(batch["passes"][-1]).detach())  # CUDA loads its kernels as they are first used
            meter, began = EnergyMeter(self._choice.device), time.perf_counter()
            for part in batch["passes"]:
                loss = pass_of(part)
                read += int(part["read"])
                if time.perf_counter() - began > _SECONDS:
                    break
            float(loss.detach())  # waits for the GPU
            seconds, joules = time.perf_counter() - began, meter.joules()
            # What the optimizer is going to hold beside the gradients.
            states = [torch.zeros_like(each) for each in model.parameters() if each.grad is not None for _ in range(2)]
            model.zero_grad()
            evaluation = self._evaluation(model, summed_loss, device, half)
            del states
        grown = None if peak[0] is None else max(0, peak[0] + _mapped(self._choice) - self._held)
        return Measured(grown, read, seconds, evaluation, joules)

    def _evaluation(self, model: Any, summed_loss: Callable[..., Any], device: Any, half: bool) -> float | None:
        import torch

        from finetune.training.batches import Collator

        held_out = self._examples.validation
        if not len(held_out):
            return None
        began = time.perf_counter()
        model.eval()
        places = _largest(held_out, self._recipe.training.batch_size)
        (part, *_) = Collator(held_out, self.step.pass_tokens, self._pad, packed=self._packed)(places)["passes"]
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            float(summed_loss(model, {name: value.to(device) for name, value in part.items()}))
        model.train()
        return time.perf_counter() - began

    def figures(self, steps_left: int) -> dict[str, Any]:
        """What to tell and to keep of it, as plain data.

        Args:
            steps_left: Steps that are still to be trained.
        """
        found = self.measured
        assert found is not None
        lengths = self._examples.train.lengths
        tokens_per_s = found.tokens / found.seconds
        seconds_left = steps_left * self._recipe.training.batch_size * float(lengths.mean()) / tokens_per_s
        counted = self.need.total if self.need else None
        watts = found.joules / found.seconds if found.joules is not None else None
        return {
            "estimated_bytes": counted,
            "measured_bytes": found.bytes,
            "estimate_error": round(counted / found.bytes - 1, 3) if counted and found.bytes else None,
            "pass_tokens": self.step.pass_tokens,
            "packed": self._packed,
            "gradient_checkpointing": self.step.checkpointing,
            "longest": self.step.longest,
            "tokens_per_s": round(tokens_per_s, 1),
            "evaluation_seconds": found.evaluation_seconds and round(found.evaluation_seconds, 3),
            "seconds_left": round(seconds_left, 3),
            "kwh_left": round(watts * seconds_left / 3.6e6, 5) if watts is not None else None,
        }


def resident(choice: DeviceChoice) -> int:
    """Bytes that this process holds where a model is trained; on the processor without the pages of mapped files."""
    import psutil
    import torch

    if choice.kind == "cuda":
        return int(torch.cuda.memory_allocated(choice.device))
    if choice.kind == "mps":
        return int(torch.mps.driver_allocated_memory())
    held = psutil.Process().memory_info()
    return int(held.rss - getattr(held, "shared", 0))  # pages of libraries come in as they are first used


def _mapped(choice: DeviceChoice) -> int:
    """Bytes of mapped files of weights, which ``resident`` leaves out and every pass reads."""
    import psutil

    if choice.kind != "cpu" or not hasattr(psutil.Process().memory_info(), "shared"):
        return 0
    maps = psutil.Process().memory_maps()
    return sum(entry.rss for entry in maps if entry.path.endswith((".safetensors", ".gguf")))


@contextmanager
def _peak(choice: DeviceChoice) -> Iterator[list[int | None]]:
    """Yields a list that holds the most memory once the block is left."""
    import torch

    found: list[int | None] = [None]
    if choice.kind == "cuda":
        torch.cuda.reset_peak_memory_stats(choice.device)
        yield found
        found[0] = int(torch.cuda.max_memory_allocated(choice.device))
        return
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            found[0] = max(found[0] or 0, resident(choice))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _largest(examples: Examples, count: int) -> list[int]:
    """Places of the examples that take the most memory: long ones, and those whose logits are many."""
    cost = examples.lengths + examples.trained
    return sorted(range(len(examples)), key=lambda place: -int(cost[place]))[:count]


def _compute_twice(model: Any) -> None:
    """Keep the inputs of layers only, and compute the rest once more when gradients are taken."""
    base = model.get_base_model()
    # transformers renamed it in 5.2x; the old name goes in 6.
    enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
    enable({"use_reentrant": False})
