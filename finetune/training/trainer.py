"""transformers' Trainer with exact steps: several passes a step, logits only where the loss is, saved before judged."""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME

from finetune.training.batches import IGNORED, Collator, Steps
from finetune.training.checkpoints import complete, keep_only, writing
from finetune.training.examples import Examples
from finetune.training.processes import require_divided
from pipelines.errors import CinquainError
from pipelines.home import disk_errors

__all__ = ["AdapterTrainer", "inputs_for", "summed_loss"]


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
        report: Called in the first process with what is measured, as plain data: ``step``, ``loss``, ``eval_loss``,
            ``tokens_per_s``…
        wants_stop: Asked after every step; once it says so, a checkpoint is saved and training ends.
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
        wants_stop: Callable[[], bool] = lambda: False,
        **keywords: Any,
    ) -> None:
        super().__init__(
            train_dataset=range(len(train)),
            eval_dataset=range(len(validation)),
            callbacks=[_Watch(self, wants_stop)],
            **keywords,
        )
        self.remove_callback(PrinterCallback)  # it writes to standard output
        self._examples = {"train": train, "validation": validation}
        self._size = batch_size
        self._patience = patience
        self._collators = {
            name: Collator(examples, pass_tokens, pad, packed=packed) for name, examples in self._examples.items()
        }
        self._report = report
        self._parameters = sum(weights.numel() for weights in self.model_wrapped.parameters())
        self._names = inputs_for(self.model)
        self._read, self._since = 0, time.perf_counter()

    @property
    def sharded(self) -> bool:
        """Whether each process holds a part of the weights, so that all of them must compute together."""
        return self.is_fsdp_enabled or self.is_deepspeed_enabled

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Steps of this process; not handed to accelerate, which would divide them among processes once more."""
        steps = Steps(
            len(self._examples["train"]), self._size, self.args.seed, self.args.process_index, self.args.world_size
        )
        # A loader draws a number as it begins; from a generator of its own, so that one that resumes a run draws as
        # many numbers from torch's as the run did that it resumes.
        return torch.utils.data.DataLoader(
            range(len(self._examples["train"])),  # type: ignore[arg-type]
            batch_sampler=steps,
            collate_fn=self._collators["train"],
            generator=torch.Generator(),
        )

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
        passes = inputs["passes"]
        count = self._most(len(passes)) if self.sharded else len(passes)
        for number in range(count):
            last = number == count - 1
            self.accelerator.gradient_state._set_sync_gradients(last)
            with nullcontext() if last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    # A process that has no pass left computes its last one for nothing: the others wait for its part
                    # of the weights.
                    loss = summed_loss(model, passes[min(number, len(passes) - 1)], self._names)
                    loss = loss * (scale if number < len(passes) else 0.0)
                self.accelerator.backward(loss)
            mean += loss.detach()
        if not torch.isfinite(self._summed(mean)):
            raise CinquainError("training_not_finite", step=self.state.global_step + 1)
        self._read += int(self._summed(inputs["read"]))
        return mean

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        """Mean loss of the trained tokens of the validation examples."""
        started = time.perf_counter()
        model: Any = self.model_wrapped if self.sharded else self.model
        model.eval()
        sums = torch.zeros(2, dtype=torch.float64)
        with torch.no_grad():
            for inputs in self._validation():
                for part in self._prepare_inputs(inputs)["passes"]:
                    with self.accelerator.autocast():
                        sums[0] += float(summed_loss(model, part, self._names))
                    sums[1] += int((part["targets"] != IGNORED).sum())
        model.train()
        loss, tokens = self._summed(sums.float() if self.args.device.type == "mps" else sums).tolist()
        seconds = time.perf_counter() - started
        self._since += seconds  # judging is no training time
        metrics = {f"{metric_key_prefix}_loss": loss / max(tokens, 1), f"{metric_key_prefix}_seconds": seconds}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Report figures. The state keeps those of evaluations only: it is written anew with every checkpoint."""
        if "train_runtime" in logs:
            return
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

    def judge(self) -> None:
        """Evaluate, remember the best step in the checkpoint, and stop where there is no progress any more."""
        if not len(self._examples["validation"]):
            return
        metrics = self.evaluate()
        if not self.state.global_step:
            return  # what the base model does without training; there is no checkpoint that could be the best one
        self._determine_best_metric(metrics=metrics, trial=None)
        self.stop_without_progress()
        folder = self._checkpoint(self.state.global_step)
        if self.args.should_save and folder.is_dir():
            temporary = folder / f".{TRAINER_STATE_NAME}.tmp"
            with disk_errors(folder):
                self.state.save_to_json(str(temporary))
                temporary.replace(folder / TRAINER_STATE_NAME)

    def stop_without_progress(self) -> None:
        """Stop where the last ``patience`` evaluations were no better than one before."""
        best = self.state.best_global_step or 0
        later = {entry["step"] for entry in self.state.log_history if entry["step"] > best}
        if self._patience and len(later) >= self._patience:
            self.control.should_training_stop = True

    def _validation(self) -> Iterator[dict[str, Any]]:
        """This process's share of the validation examples, as the inputs of passes."""
        count, process, processes = len(self._examples["validation"]), self.args.process_index, self.args.world_size
        # Long ones beside long ones: what a pass holds has no influence on the sum.
        order = sorted(range(count), key=lambda place: -self._examples["validation"].lengths[place])
        size = self._size * processes
        for start in range(0, count, size):
            yield self._collators["validation"](order[start : start + size][process::processes])

    def _summed(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        return self.accelerator.reduce(value.to(self.args.device), "sum")

    def _most(self, value: int) -> int:
        """The largest of all processes' numbers."""
        numbers = self.accelerator.gather(torch.tensor([value], device=self.args.device))
        return int(numbers.max())

    def _run_epoch(self, *arguments: Any, **keywords: Any) -> None:
        """An epoch, unless the checkpoint that training goes on from was its last one already."""
        if self.control.should_training_stop or self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*arguments, **keywords)

    def _maybe_log_save_evaluate(self, *arguments: Any, **keywords: Any) -> None:
        """Save before judging: what an evaluation breaks, or a kill during it, costs no training."""
        judge, self.control.should_evaluate = self.control.should_evaluate, False
        super()._maybe_log_save_evaluate(*arguments, **keywords)
        if judge:
            self.judge()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        started = time.perf_counter()
        folder = self._checkpoint(self.state.global_step)
        with writing(folder):
            super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            complete(folder)
            keep_only(folder.parent, {self.state.global_step, self.state.best_global_step or self.state.global_step})
        self._since += time.perf_counter() - started

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """The adapter alone. PEFT would ask the Hub for the base's configuration, and Trainer adds a pickle."""
        if self.args.should_save:
            model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
            model.save_pretrained(output_dir, state_dict=state_dict, save_embedding_layers=False)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Weights of the adapter; read as they were written, without asking the Hub for anything."""
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        if self.sharded:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            set_peft_model_state_dict(self.model, load_file(Path(resume_from_checkpoint) / "adapter_model.safetensors"))

    def _checkpoint(self, step: int) -> Path:
        return Path(str(self.args.output_dir)) / f"checkpoint-{step}"


class _Watch(TrainerCallback):
    """Judges what was not judged yet when training begins or goes on, and ends it where a person wants that."""

    def __init__(self, trainer: AdapterTrainer, wants_stop: Callable[[], bool]) -> None:
        self._trainer, self._wants_stop = trainer, wants_stop

    def on_train_begin(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        """Judge the base model, or a checkpoint whose evaluation did not come to its end."""
        if self._trainer.sharded:
            require_divided(self._trainer.model_wrapped, args.world_size)
        step, judged = state.global_step, {entry["step"] for entry in state.log_history}
        due = step % args.eval_steps == 0 or step >= state.max_steps
        if due and step not in judged:
            self._trainer.judge()
        self._trainer.stop_without_progress()

    def on_step_end(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        """Save and end where that is wanted."""
        if self._trainer._most(int(self._wants_stop())):
            control.should_save = control.should_training_stop = True


def inputs_for(model: Any) -> frozenset[str]:
    """Names of the arguments that a model's forward pass takes."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(base.forward).parameters)


def summed_loss(model: Any, part: dict[str, Any], names: frozenset[str]) -> torch.Tensor:
    """Sum of the negative log-likelihoods of a pass's targets, in float32 or what is more exact.

    Args:
        model: A causal or an encoder–decoder model.
        part: What ``Collator`` made: inputs of the model, and ``targets``.
        names: ``inputs_for(model)``: models that need no positions do not take any.
    """
    targets = part["targets"]
    inputs = {name: value for name, value in part.items() if name in names}
    if "use_cache" in names:
        inputs["use_cache"] = False
    wanted = targets != IGNORED
    # A model that can leave logits out does so by what its head reads: there it is told more exactly which.
    with _only_at(wanted, model) if "logits_to_keep" in names else nullcontext():
        logits = model(**inputs).logits
    logits = logits[wanted] if logits.shape[:2] == targets.shape else logits[0]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.nn.functional.cross_entropy(logits, targets[wanted], reduction="sum")


@contextmanager
def _only_at(wanted: torch.Tensor, model: Any) -> Iterator[None]:
    """Have a model compute the logits of ``wanted`` (rows, columns) only: (1, number of these tokens, vocabulary).

    The logits of a batch may be larger than all the rest of the pass, and most tokens carry no loss.
    """
    head = getattr(model, "module", model).get_output_embeddings()

    def select(module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *others = arguments
        return (hidden[wanted][None], *others)

    hook = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()
