"""``train``: a recipe in, an adapter out that ``--adapter`` serves exactly as it was trained.

The same command goes on where a run was stopped or killed, and ends with the same weights. What is saved is a file of
the best checkpoint, byte by byte, beside the whole prompt and the whole chat template of its rows.
"""

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from finetune.data import Ledger
from finetune.data.prepare import prepare
from finetune.data.rendering import ChatRenderer, Renderer
from finetune.data.row import Row
from finetune.recipe import Recipe
from finetune.training.folder import RunFolder, identity_of
from finetune.training.prepared import PreparedExamples, data_sha256, prepared_examples
from finetune.training.processes import Processes
from finetune.training.progress import TrainingProgress
from pipelines.engines.device import DeviceChoice, choose_device
from pipelines.engines.free_memory import free_memory
from pipelines.errors import InputError
from pipelines.models.memory import gigabytes
from pipelines.models.shape import ModelShape, shape_of
from pipelines.models.source import ModelSource
from pipelines.provenance import environment

__all__ = ["device_for", "fingerprint_of", "stoppable", "train", "training_device"]

_PACKAGES = ("torch", "transformers", "tokenizers", "peft", "accelerate", "safetensors")


def train(recipe: Recipe, *, planted: Sequence[Row] = (), progress: TrainingProgress | None = None) -> dict[str, Any]:
    """Train an adapter.

    Args:
        recipe: What to teach which model.
        planted: Rows that are trained on besides those of the recipe.
        progress: Where it is shown how far the work is.

    Returns:
        What ``training.json`` holds: ``steps``, ``best_step``, ``loss``, ``validation_loss``…; that of the finished
        run where there is nothing left to do.

    Raises:
        InputError: The recipe names what is not there, or its folder belongs to another recipe.
        CinquainError: Another run works in the folder, the disk is full, the loss is not finite any more.
        KeyboardInterrupt: A person stopped it; a checkpoint was saved.
    """
    from pipelines.models import resolve
    from pipelines.models.fingerprint import weights_sha256

    progress = progress or TrainingProgress(quiet=True)
    for tracker in recipe.training.trackers:
        if find_spec(tracker) is None:
            raise InputError("tracker_missing", tracker=tracker, line=f"{sys.executable} -m pip install {tracker}")
    choice = training_device(recipe)
    processes = Processes(choice)
    if not processes.first:
        progress = TrainingProgress(quiet=True)
        processes.wait()
    folder = RunFolder(Path(recipe.output).expanduser())
    with folder.held() if processes.first else nullcontext():
        source = resolve(recipe.model, task=recipe.task)
        base_sha256 = weights_sha256(source)
        if processes.first:
            folder.claim(recipe, identity_of(recipe, base_sha256, planted))
        done = folder.finished()
        if done is None:
            ledger = prepare(recipe.data, folder.data, progress=progress) if processes.first else _ledger(folder)
            renderer = Renderer.load(recipe.model, recipe.task)
            examples = prepared_examples(
                folder.data, ledger, renderer, folder.work, recipe.training.validation_rows, planted
            )
        if processes.first:
            processes.wait()
        if done is not None:
            if processes.first:
                folder.tidy()
            progress.say("training_nothing_to_do", out=str(folder.path))
            return done
        if processes.first and not len(examples.validation):
            progress.say("training_no_held_out")
        figures = _steps(recipe, folder, source, choice, processes, examples, renderer, progress)
        if processes.first:
            from pipelines.models.fingerprint import write

            write(folder.path, fingerprint_of(renderer, source, base_sha256, data_sha256(ledger, planted)))
            folder.finish({**figures, "data": _data_figures(ledger, examples), **_provenance(recipe, base_sha256)})
            progress.say("training_done", task=recipe.task, out=str(folder.path))
        processes.wait()
        return folder.finished() or {}


def training_device(recipe: Recipe) -> DeviceChoice:
    """As ``device_for``, for a recipe."""
    return device_for(recipe.training.device, recipe.training.dtype, recipe.adapter.quantization)


def device_for(device: str, dtype: str, quantization: str | None = None) -> DeviceChoice:
    """Where is trained, and in which number format.

    float16 needs the loss to be scaled and overflows all the same; float32 is taken where a device has no bfloat16.

    Raises:
        InputError: The device is not there, or cannot quantize.
    """
    if "LOCAL_RANK" in os.environ and device in ("auto", "cuda"):
        choice = choose_device(device, dtype, quantization)
        device = f"cuda:{os.environ['LOCAL_RANK']}" if choice.kind == "cuda" else choice.device
    choice = choose_device(device, dtype, quantization)
    choice = replace(choice, device="cuda:0") if choice.device == "cuda" else choice
    return replace(choice, dtype="float32" if choice.dtype == "float16" else choice.dtype, one_row=False)


def fingerprint_of(renderer: Renderer, source: ModelSource, base_sha256: str, data: str) -> Any:
    """What an adapter is served with: the prompt and the chat template of its rows, whole.

    Args:
        renderer: What rendered the rows.
        source: The base model.
        base_sha256: Hash of its weights.
        data: Hash of the rows.
    """
    from pipelines.models.fingerprint import BaseReference, Fingerprint

    template = renderer.format.template if isinstance(renderer, ChatRenderer) else getattr(renderer, "template", "")
    return Fingerprint(
        base=BaseReference(reference=source.reference, sha256=base_sha256, revision=source.revision),
        task=renderer.task,
        prompt=renderer.prompt,
        chat_template=template,
        prompt_sha256=renderer.prompt.digest(template),
        data_sha256=data,
        versions=_versions(),
    )


def _steps(
    recipe: Recipe,
    folder: RunFolder,
    source: ModelSource,
    choice: DeviceChoice,
    processes: Processes,
    examples: PreparedExamples,
    renderer: Renderer,
    progress: TrainingProgress,
) -> dict[str, Any]:
    """Train, from the last checkpoint where there is one, and put the best adapter in its place."""
    from finetune.training.adapter import load_base, with_adapter
    from finetune.training.arguments import pass_tokens, total_steps, trainer_arguments
    from finetune.training.checkpoints import judged_steps, last_complete, step_of
    from finetune.training.kernels import attention_kernels
    from finetune.training.memory import give_large_blocks_back
    from finetune.training.packing import packs
    from finetune.training.plot import draw
    from finetune.training.preflight import Preflight, resident
    from finetune.training.trainer import AdapterTrainer, inputs_for, summed_loss

    if processes.first:
        last_complete(folder.checkpoints)  # removes what a kill left
    processes.wait()
    begun = last_complete(folder.checkpoints)
    if processes.first:
        folder.rewind(step_of(begun) if begun else 0, judged_steps(begun) if begun else set())
    config = recipe.training
    total, done = total_steps(config, len(examples.train)), step_of(begun) if begun else 0
    shape = _shape(source)
    if choice.kind == "cpu":
        give_large_blocks_back()
    free, held = free_memory(choice.device), resident(choice)
    model = with_adapter(load_base(source, choice, sharded=processes.sharded), source, recipe.adapter, config.seed)
    pad, tokens = renderer.tokenizer.pad_token_id or 0, pass_tokens(config, choice)
    packed = packs(config.packed, model, shape, examples.train, choice)
    measured: dict[str, Any] = {}
    if not processes.sharded:  # each process would hold a part, which only a real step shows
        names = inputs_for(model)
        flight = Preflight(recipe, choice, shape, examples, free, held, pad, tokens, packed)
        with attention_kernels(choice):
            flight.run(model, lambda model, part: summed_loss(model, part, names))
        tokens, measured = flight.step.pass_tokens, flight.figures(total - done)
        progress.say("training_preflight", **_told(measured, total - done))
    gaps = bool(model.config.is_encoder_decoder or (shape and "experts" in shape.approximate))
    arguments = trainer_arguments(config, choice, folder.checkpoints, len(examples.train), gaps=gaps)
    started = time.monotonic()
    with (
        progress.steps(total, done) as show,
        stoppable(lambda: progress.say("training_stopping")) as wants_stop,
    ):

        def report(entry: dict[str, Any]) -> None:
            folder.add(entry)
            show(entry)
            if "eval_loss" in entry:
                draw(folder.entries(), folder.plot)

        trainer = AdapterTrainer(
            model=model,
            args=arguments,
            train=examples.train,
            validation=examples.validation,
            batch_size=config.batch_size,
            pass_tokens=tokens,
            pad=pad,
            packed=packed,
            patience=config.patience,
            report=report,
            wants_stop=wants_stop,
        )
        with warnings.catch_warnings(), attention_kernels(choice):
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")  # torch, of accelerate
            trainer.train(resume_from_checkpoint=str(begun) if begun else None)
    if wants_stop() and not _ended(trainer):
        progress.say("training_go_on", out=str(folder.path), step=trainer.state.global_step)
        raise KeyboardInterrupt
    best = trainer.state.best_global_step or trainer.state.global_step
    if processes.first:
        folder.publish(folder.checkpoints / f"checkpoint-{best}")
    entries = folder.entries() if processes.first else []
    if processes.first:
        draw(entries, folder.plot)
    return {
        "steps": trainer.state.global_step,
        "best_step": best,
        "loss": next((entry["loss"] for entry in reversed(entries) if "loss" in entry), None),
        "validation_loss": trainer.state.best_metric,
        "base_validation_loss": next(
            (each["eval_loss"] for each in entries if each.get("eval_loss") and not each["step"]), None
        ),
        "trainable": sum(each.numel() for each in model.parameters() if each.requires_grad),
        "device": choice.device,
        "dtype": choice.label,
        "processes": processes.count,
        "preflight": measured,
        "seconds_of_last_start": round(time.monotonic() - started, 1),
    }


def _shape(source: ModelSource) -> ModelShape | None:
    """What the base is made of; None for one that is too unusual to be counted."""
    try:
        return shape_of(source)
    except Exception:  # as in pipelines/engines/placement.py: what is wrong with it, loading says
        return None


def _told(figures: dict[str, Any], steps: int) -> dict[str, str]:
    """What a person is told of the preflight."""
    minutes = round(figures["seconds_left"] / 60)
    energy = figures["kwh_left"]
    return {
        "measured": gigabytes(figures["measured_bytes"]) if figures["measured_bytes"] else "unknown",
        "estimated": gigabytes(figures["estimated_bytes"]) if figures["estimated_bytes"] else "unknown",
        "speed": f"{figures['tokens_per_s']:,.0f}",
        "steps": str(steps),
        "time": f"{minutes // 60}:{minutes % 60:02d}",
        "energy": f"{energy:.3f} kWh" if energy is not None else "unknown",
    }


def _ended(trainer: Any) -> bool:
    """Whether training came to its own end at the same step at which a person wanted it to stop."""
    return bool(trainer.state.global_step >= trainer.state.max_steps)


@contextmanager
def stoppable(say: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Take Ctrl-C, and the signal that a cluster sends before it kills, as a wish.

    The step at work is finished, and a checkpoint saved. The second one ends the program at once.

    Yields:
        A function that says whether to stop.
    """
    wanted = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if wanted.is_set():
            raise KeyboardInterrupt
        wanted.set()
        say()

    if threading.current_thread() is not threading.main_thread():  # only that one may ask for signals
        yield wanted.is_set
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wanted.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ledger(folder: RunFolder) -> Ledger:
    from finetune.data.results import finished

    ledger = finished(folder.data)
    assert ledger is not None
    return ledger


def _data_figures(ledger: Ledger, examples: PreparedExamples) -> dict[str, Any]:
    return {
        "result_sha256": ledger.result_sha256,
        "rows": {name: entry.rows for name, entry in ledger.splits.items()},
        "tokens": int(examples.train.lengths.sum()),
        "trained_tokens": int(examples.train.trained.sum()),
        "longest": int(examples.train.lengths.max()),
    }


def _versions() -> dict[str, str]:
    return {"cinquain": str(environment()["cinquain"]), **{name: version(name) for name in _PACKAGES}}


def _provenance(recipe: Recipe, base_sha256: str) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(mode="json"),
        "base_sha256": base_sha256,
        **environment(),
        "packages": _versions(),
        "command": sys.argv,
    }
