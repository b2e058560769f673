"""transformers' Trainer with exact steps: several passes a step, logits only where the loss is, saved before judged."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME

from finetune.training.batches import IGNORED, Collator, Steps
from finetune.training.checkpoints import complete, keep_only
from finetune.training.examples import Examples
from pipelines.errors import CinquainError
from pipelines.home import disk_errors

__all__ = ["AdapterTrainer", "summed_loss"]


class AdapterTrainer(Trainer):
    """Trains on ``Examples``.

    Args:
        train: Examples to learn from.
        validation: Examples to judge by; empty where there are none.
        batch_size: Examples of one optimizer step, all processes together.
        pass_tokens: Most padded tokens of one forward pass.
        pad: Id that pads.
        packed: Lay the examples of a pass end to end.
        patience: Stop after this many evaluations without a better one; 0 never stops.
        report: Called with what is measured, as plain data: ``step``, ``loss``, ``eval_loss``, ``tokens_per_s``…
        keywords: Those of Trainer; ``args`` must have a gradient accumulation of 1, as a step holds its passes itself.
    """

    def __init__(
        self,
        *,
        train: Examples,
        validation: Examples,
        batch_size: int,
        pass_tokens: int,
        pad: int,
        packed: bool = False,
        patience: int = 0,
        report: Callable[[dict[str, Any]], None] = lambda figures: None,
        **keywords: Any,
    ) -> None:
        super().__init__(train_dataset=range(len(train)), eval_dataset=range(len(validation)), **keywords)
        self._examples = {"train": train, "validation": validation}
        self._size = batch_size
        self._patience = patience
        self._collators = {
            name: Collator(examples, pass_tokens, pad, packed=packed) for name, examples in self._examples.items()
        }
        self._report = report
        self._parameters = sum(weights.numel() for weights in self.model_wrapped.parameters())
        self._read, self._since = 0, time.perf_counter()

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Steps of this process; not handed to accelerate, which would divide them among processes once more."""
        return self._loader("train", self.args.data_seed or self.args.seed)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Gradients of one step.

        Returns:
            Mean loss of the trained tokens of this process, scaled so that the mean over processes is that of the step.

        Raises:
            CinquainError: ``training_not_finite``.
        """
        model.train()
        inputs = self._prepare_inputs(inputs)
        # Processes hold different numbers of trained tokens; DDP takes the mean of their gradients.
        total = self._summed(inputs["trained"]).clamp(min=1)
        scale = self.accelerator.num_processes / total
        mean = torch.zeros((), device=self.args.device)
        for number, part in enumerate(inputs["passes"], 1):
            last = number == len(inputs["passes"])
            with nullcontext() if last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss = summed_loss(model, part) * scale
                self.accelerator.backward(loss)
            mean += loss.detach()
        if not torch.isfinite(mean):
            raise CinquainError("training_not_finite", step=self.state.global_step + 1)
        self._read += int(self._summed(inputs["read"]))
        return mean

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        """Mean loss of the trained tokens of the validation examples."""
        started = time.perf_counter()
        self.model_wrapped.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        with torch.no_grad():
            for inputs in self._loader("validation", None):
                for part in self._prepare_inputs(inputs)["passes"]:
                    with self.compute_loss_context_manager():
                        sums[0] += summed_loss(self.model_wrapped, part).double()
                    sums[1] += (part["targets"] != IGNORED).sum()
        loss, tokens = self._summed(sums).tolist()
        seconds = time.perf_counter() - started
        self._since += seconds  # judging is no training time
        metrics = {f"{metric_key_prefix}_loss": loss / max(tokens, 1), f"{metric_key_prefix}_seconds": seconds}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Report figures. The state keeps those of evaluations only: it is written anew with every checkpoint."""
        if "loss" in logs:
            now = time.perf_counter()
            logs["tokens_per_s"] = self._read / (now - self._since)
            self._read, self._since = 0, now
        figures = {"step": self.state.global_step, "epoch": round(self.state.epoch or 0.0, 4), **logs}
        if "eval_loss" in logs:
            self.state.log_history.append(figures)
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)
        if self.is_world_process_zero():
            self._report(figures)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Of one step, forward and backward: 4 for each weight and token, as frozen weights have no gradient."""
        return 4 * self._parameters * int(inputs["read"])

    def _loader(self, name: str, seed: int | None) -> torch.utils.data.DataLoader:
        count, process, processes = len(self._examples[name]), self.args.process_index, self.args.world_size
        if seed is None:
            places = list(range(count))
            size = self._size * processes
            steps: Any = [places[start : start + size][process::processes] for start in range(0, count, size)]
        else:
            steps = Steps(count, self._size, seed, process, processes)
        return torch.utils.data.DataLoader(range(count), batch_sampler=steps, collate_fn=self._collators[name])  # type: ignore[arg-type]

    def _summed(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        return self.accelerator.reduce(value.to(self.args.device), "sum")

    def _maybe_log_save_evaluate(self, *arguments: Any, **keywords: Any) -> None:
        """Save before judging: what an evaluation breaks, or a kill during it, costs no training."""
        judge, self.control.should_evaluate = self.control.should_evaluate, False
        super()._maybe_log_save_evaluate(*arguments, **keywords)
        if judge:
            self.judge()

    def judge(self) -> None:
        """Evaluate, remember the best step, and stop where the last ``patience`` evaluations were no better."""
        if not len(self._examples["validation"]):
            return
        self._determine_best_metric(metrics=self.evaluate(), trial=None)
        judged = [entry["step"] for entry in self.state.log_history]
        if (
            self._patience
            and len([step for step in judged if step > (self.state.best_global_step or 0)]) >= self._patience
        ):
            self.control.should_training_stop = True
        folder = self._checkpoint(self.state.global_step)
        if self.args.should_save and folder.is_dir():
            temporary = folder / f".{TRAINER_STATE_NAME}.tmp"
            self.state.save_to_json(str(temporary))
            temporary.replace(folder / TRAINER_STATE_NAME)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = self._checkpoint(self.state.global_step)
        with disk_errors(folder):
            super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            complete(folder)
            keep_only(folder.parent, {self.state.global_step, self.state.best_global_step or self.state.global_step})

    def _checkpoint(self, step: int) -> Path:
        return Path(str(self.args.output_dir)) / f"checkpoint-{step}"


def summed_loss(model: Any, part: dict[str, Any]) -> torch.Tensor:
    """Sum of the negative log-likelihoods of a pass's targets, in float32.

    Args:
        model: A causal or an encoder–decoder model.
        part: What ``Collator`` made: inputs of the model, and ``targets`` (rows, columns) for its last columns.
    """
    inputs = {name: value for name, value in part.items() if name != "targets"}
    targets = part["targets"]
    if "decoder_input_ids" not in inputs:
        inputs |= {"logits_to_keep": targets.shape[1], "use_cache": False}
    logits = model(**inputs).logits[:, -targets.shape[1] :]
    wanted = targets != IGNORED
    return torch.nn.functional.cross_entropy(logits[wanted].float(), targets[wanted], reduction="sum")
