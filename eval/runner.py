"""Asking a model the rows of a benchmark: killed at any moment, the same call goes on and asks no row twice.

Each (benchmark, model, adapter, prompt, options, engine) has a folder of its own below the results, named by a hash
over all of them, so that no reply of another model is ever taken for one of this. Rows are asked in windows of like
length, the longest first, whose batches the engine makes; a window's records are on the disk before the next one
begins.
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eval.benchmarks import Benchmark, BenchmarkRow
from eval.costs import Meter
from eval.identity import identify, key_of
from eval.records import Record, RecordFile, Run, Shard, begin_run, finish_run, held, load_run
from pipelines.engines.base import Engine
from pipelines.errors import CinquainError, InputError, UnavailableError
from pipelines.generation import Generation, GenerationOptions
from pipelines.pipeline import Pipeline
from pipelines.provenance import environment

__all__ = ["describe", "place_of", "run"]

ALONE = 3
"""Rows that are asked once more by themselves: enough to show that batches change texts, at little cost."""


def run(
    benchmark: Benchmark,
    pipeline: Pipeline,
    folder: Path,
    *,
    adapter: str | None = None,
    max_new_tokens: int | None = None,
    engine_options: Mapping[str, Any] | None = None,
    shard: Shard | None = None,
    alone: int = ALONE,
    retry: bool = False,
    command: str = "",
    cancel: threading.Event | None = None,
    progress: Callable[[float], None] = lambda rows: None,
) -> Run:
    """Ask every row of a benchmark greedily; what an earlier call was answered is read from ``folder``.

    Args:
        benchmark: What to ask.
        pipeline: Task and model.
        folder: Folder of results, where the run has a folder of its own.
        adapter: Name of a loaded adapter, or ``base``.
        max_new_tokens: Of each reply; the benchmark's, or the task's default, where None.
        engine_options: What the engine was loaded with, for the identity of the run.
        shard: The share of this process; all rows where None.
        alone: Rows of the benchmark that are asked once more by themselves, to see whether batches change texts.
        retry: Ask rows again that failed.
        command: Command line that repeats the run.
        cancel: Set it from another thread to stop; what was answered stays.
        progress: Called with the number of rows of this process that are done.

    Returns:
        What all processes have so far; fewer records than rows where others are still at work, or ``cancel`` was set.

    Raises:
        InputError: The model cannot do the task, or has no such adapter.
        UnavailableError: A remote model cannot be had any more; what it answered stays.
        CinquainError: The disk is full, or another process works on the same rows.
    """
    limit = max_new_tokens or benchmark.max_new_tokens
    given: dict[str, Any] = {"temperature": 0.0, "adapter": adapter, "max_new_tokens": limit}
    options = {name: value for name, value in given.items() if value is not None}
    resolved = GenerationOptions(**options).over(pipeline.task.defaults)
    identity = identify(benchmark, pipeline, adapter, resolved, engine_options or {})
    engine = pipeline.wording(adapter)[0]
    if identity["engine"]["engine"] == "remote":
        identity = _dated(folder, benchmark, engine, identity)
    place = place_of(folder, benchmark, engine, identity)
    shard, cancel = shard or Shard(), cancel or threading.Event()
    with held(place, shard):
        begin_run(place, describe(benchmark, engine.provenance(), identity, command))
        known = load_run(place)
        file = RecordFile(place / f"{shard.name}.jsonl")
        file.mend()
        mine = benchmark.rows[shard.number - 1 :: shard.count]
        done = {record.row_id for record in known.records if not (retry and record.error)}
        _ask(pipeline, [row for row in mine if row.id not in done], len(mine), file, options, cancel, progress)
        chosen = sorted(benchmark.rows, key=lambda row: hashlib.sha256(row.id.encode()).digest())[:alone]
        if not cancel.is_set():
            _ask_alone(pipeline, [row for row in chosen if row in mine], load_run(place), file, options, cancel)
        found = load_run(place)
        if len(found.records) == found.rows:
            finish_run(found)
    return found


def _ask(
    pipeline: Pipeline,
    rows: Sequence[BenchmarkRow],
    total: int,
    file: RecordFile,
    options: Mapping[str, Any],
    cancel: threading.Event,
    progress: Callable[[float], None],
) -> None:
    done, device = total - len(rows), _device(pipeline)
    progress(done)
    rows = sorted(rows, key=lambda row: -len(json.dumps(row.request)))  # batches of like lengths waste no padding
    for start in range(0, len(rows), width := _window(device)):
        window = rows[start : start + width]
        begun, size = done + start, len(window)

        def show(calls_done: int, calls_known: int, begun: int = begun, size: int = size) -> None:
            progress(begun + size * calls_done / calls_known)

        meter = Meter(device)
        requests = [{**options, **row.request} for row in window]
        outcomes = pipeline.batch(requests, errors="return", cancel=cancel, on_progress=show)
        # A reply that was cut short is no reply; one that had ended by itself before that is.
        records = [
            _record(row.id, outcome)
            for row, outcome in zip(window, outcomes, strict=True)
            if not isinstance(outcome, UnavailableError) and getattr(outcome, "finish_reason", "") != "cancelled"
        ]
        tokens = [sum(getattr(each, name) for each in records) for name in ("prompt_tokens", "completion_tokens")]
        lines = [{"kind": "row", **asdict(record)} for record in records]
        file.append([*lines, meter.window(len(records), *tokens)])
        if unavailable := next((each for each in outcomes if isinstance(each, UnavailableError)), None):
            raise unavailable
        if cancel.is_set():
            return
        progress(begun + size)


def _ask_alone(
    pipeline: Pipeline,
    rows: Sequence[BenchmarkRow],
    known: Run,
    file: RecordFile,
    options: Mapping[str, Any],
    cancel: threading.Event,
) -> None:
    """Ask rows once more, one at a time, and keep whether the text is the same."""
    replies = {record.row_id: record.reply for record in known.records if not record.error}
    for row in rows:
        if row.id in known.alone or row.id not in replies:
            continue
        (outcome,) = pipeline.batch([{**options, **row.request}], errors="return", cancel=cancel)
        if isinstance(outcome, UnavailableError):
            raise outcome
        if cancel.is_set():
            return
        again = _record(row.id, outcome)
        same = not again.error and again.reply == replies[row.id]
        file.append([{"kind": "alone", "row_id": row.id, "same": same, "seconds": again.seconds}])


def _record(row_id: str, outcome: Generation | CinquainError) -> Record:
    if isinstance(outcome, CinquainError):
        note = {"code": outcome.code, "parameters": outcome.parameters}
        return Record(row_id, "", "error", outcome.code, notes=(note,))
    return Record(
        row_id,
        outcome.text,
        outcome.finish_reason,
        prompt_tokens=outcome.usage.prompt_tokens,
        completion_tokens=outcome.usage.completion_tokens,
        seconds=outcome.timing.total_s,
        first_token_s=outcome.timing.first_token_s,
        notes=tuple({"code": note.code, "parameters": note.parameters} for note in outcome.notes),
    )


def _window(device: str | None) -> int:
    """Rows that are asked together: enough for full batches; what a kill takes is a few minutes' work on two cores."""
    return 16 if device == "cpu" else 64


def _device(pipeline: Pipeline) -> str | None:
    said = pipeline.engine.provenance()
    return None if said["engine"] == "remote" else str(said.get("device", "cpu"))


def describe(benchmark: Benchmark, engine: dict[str, Any], identity: dict[str, Any], command: str) -> dict[str, Any]:
    """What ``eval.records.begin_run`` writes: what is asked of whom, by which command line."""
    provenance = {"engine": engine, "environment": environment(), "date": _today(), "command": command}
    return {
        "benchmark": benchmark.name,
        "version": benchmark.version,
        "benchmark_sha256": benchmark.sha256,
        "task": benchmark.task,
        "identity": identity,
        "provenance": provenance,
        "row_ids": [row.id for row in benchmark.rows],
    }


def place_of(folder: Path, benchmark: Benchmark, engine: Engine, identity: Mapping[str, Any]) -> Path:
    """The folder of a run: the one that has its key, however the model was called then."""
    key = key_of(identity)[:16]
    return next(iter(sorted(folder.glob(f"*-{key}"))), folder / f"{_stem(benchmark, engine)}-{key}")


def _stem(benchmark: Benchmark, engine: Engine) -> str:
    """The part of a folder's name that is there for a person."""
    model = re.split(r"[/\\#]", engine.reference.rstrip("/\\"))[-1]
    words = (benchmark.name, model, engine.provenance().get("adapter") or "")
    return "-".join(re.sub(r"[^\w.-]+", "_", word).strip("._-")[:40] for word in words if word)


def _dated(folder: Path, benchmark: Benchmark, engine: Engine, identity: dict[str, Any]) -> dict[str, Any]:
    """The identity of a run of a model that may become another one under the same name: with the day it began.

    A run that is not finished goes on, whenever it began; a finished one is not taken for today's.
    """
    for path in sorted(folder.glob(f"{_stem(benchmark, engine)}-*")):
        try:
            found = load_run(path)
        except InputError:
            continue
        dated = {**identity, "date": found.identity.get("date")}
        if found.identity == dated and len(found.records) < found.rows:
            return dated
    return {**identity, "date": _today()}


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
