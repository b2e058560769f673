"""Who is audited: a model, or an adapter beside its base; and how likely texts are to it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.benchmarks import Benchmark, BenchmarkRow
from eval.identity import identify
from eval.likelihood import Asked, foreseen, reference_bits
from eval.records import RecordFile, Shard, begin_run, held
from eval.runner import describe, place_of
from pipelines.engines import Engine
from pipelines.engines.adapters.adapters import BASE
from pipelines.engines.local import LocalEngine
from pipelines.errors import InputError
from pipelines.generation import GenerationOptions
from pipelines.pipeline import Pipeline
from pipelines.requests import validate
from pipelines.tasks import TASKS

__all__ = ["Subject", "kept", "reply_row"]

_WINDOW = 64
"""Texts whose likelihoods are on the disk together: some seconds of work."""


@dataclass(frozen=True)
class Subject:
    """What is audited, and where what came of it is kept.

    Attributes:
        engine: The model, with its adapter loaded where one is audited.
        folder: Folder of results.
        adapter: Name of the adapter; None where the model alone is audited.
        engine_options: What the engine was loaded with.
        command: Command line that makes the audit again.
        cancel: Set it from another thread to stop; what was measured stays.
    """

    engine: Engine
    folder: Path
    adapter: str | None = None
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def sides(self) -> tuple[str, ...]:
        """Names of what is compared, as the engine knows them: the base, and the adapter where there is one."""
        return (BASE, self.adapter) if self.adapter else (BASE,)

    def pipeline(self, task: str = "dialogue") -> Pipeline:
        """The model at a task."""
        return Pipeline(TASKS[task](), self.engine)

    @property
    def local(self) -> LocalEngine:
        """The engine, where it can tell how likely a text is.

        Raises:
            InputError: ``audit_needs_causal``.
        """
        if not isinstance(self.engine, LocalEngine):
            raise InputError("audit_needs_causal", model=self.engine.reference)
        return self.engine


def reply_row(subject: Subject, side: str, row: BenchmarkRow, reply: str, task: str = "dialogue") -> Asked:
    """A reply to a row, as the model reads it under the prompt and chat template of a side; the reply is labelled.

    Raises:
        InputError: ``audit_needs_causal``, or the chat template refuses the conversation.
    """
    engine, prompt = subject.local.view(side), subject.pipeline(task).wording(side)[1]
    definition = TASKS[task]()
    request = validate(definition.request_type, row.request, task)
    asked = engine.format.tokens(definition.messages(request, prompt))
    written = engine.tokenizer.encode(reply, add_special_tokens=False)
    return Asked([*asked, *written], [False] * len(asked) + [True] * len(written))


def kept(
    subject: Subject,
    side: str,
    benchmark: Benchmark,
    rows: Mapping[str, Asked],
    progress: Callable[[int], None] = lambda done: None,
    *,
    measured: str = "bits",
) -> dict[str, float]:
    """What the model foresees of each row; what an earlier call measured is read from the disk.

    Args:
        subject: Who is audited.
        side: ``base``, or the name of the adapter.
        benchmark: What the rows were made of: with the model it names the folder.
        rows: By a name of their own within the benchmark.
        progress: Called with the number of rows that are there.
        measured: ``bits``, minus log2 of the probability of what is labelled, or ``foreseen``, how many of the labelled
            tokens greedy decoding would write.

    Returns:
        The numbers by name; fewer than ``rows`` where ``subject.cancel`` was set.

    Raises:
        CinquainError: The disk is full, or another process measures the same.
    """
    engine, pipeline = subject.local, subject.pipeline(benchmark.task)
    compute: Callable[..., Sequence[float]] = reference_bits if measured == "bits" else foreseen
    options = GenerationOptions(temperature=0.0, adapter=side).over(pipeline.task.defaults)
    identity = {**identify(benchmark, pipeline, side, options, subject.engine_options), "measured": measured}
    view = pipeline.wording(side)[0]
    place = place_of(subject.folder, benchmark, view, identity)
    with held(place, Shard()):
        begin_run(place, describe(benchmark, view.provenance(), identity, subject.command))
        file = RecordFile(place / f"{measured}.jsonl")
        file.mend()
        known = {str(entry["id"]): float(entry["value"]) for entry in file.read()[0]}
        missing = [name for name in rows if name not in known]
        for names in _windows(missing):
            if subject.cancel.is_set():
                break
            with engine.adapters.in_force(side):
                found = compute(engine.model, [rows[name] for name in names])
            file.append([{"id": name, "value": value} for name, value in zip(names, found, strict=True)])
            known |= dict(zip(names, found, strict=True))
            progress(sum(name in known for name in rows))
    return {name: known[name] for name in rows if name in known}


def _windows(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + _WINDOW] for start in range(0, len(names), _WINDOW)]
