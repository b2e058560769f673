"""What a model answers to rows, kept on the disk as it comes: a judgement that was killed goes on where it was.

One private file for each (rows, model, adapter, prompt, options): its name is a hash over all of them, so that no
answer of another model is ever taken for one of this.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from eval.records import RecordFile
from pipelines.errors import CinquainError, UnavailableError
from pipelines.home import disk_errors
from pipelines.pipeline import Pipeline

__all__ = ["Answer", "answers"]

SCHEMA_VERSION = 2
_AT_ONCE = 64
"""Rows that are answered together and then saved: enough for full batches, and a minute's work on two cores."""


@dataclass(frozen=True)
class Answer:
    """The answer to one row.

    Attributes:
        text: What the pipeline gave; empty where it failed.
        finish_reason: As in ``Generation``; ``error`` where it failed.
        error: Code of the failure; empty where there was none.
        tokens: Generated tokens.
    """

    text: str
    finish_reason: str = "stop"
    error: str = ""
    tokens: int = 0


def answers(
    pipeline: Pipeline,
    requests: Sequence[dict[str, Any]],
    folder: Path,
    *,
    adapter: str | None = None,
    max_new_tokens: int | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> list[Answer]:
    """Answer requests greedily, in their order; what an earlier call answered is read from ``folder``.

    Args:
        pipeline: Task and model.
        requests: Fields of each request.
        folder: Where the answers are kept, readable by their owner only.
        adapter: Name of a loaded adapter, or ``base``.
        max_new_tokens: Of each reply; the task's default where None.
        advance: Called with the number of rows that were answered, those read from ``folder`` included.

    Raises:
        InputError: The model cannot do the task.
        UnavailableError: A remote model cannot be had any more; what it answered stays.
        CinquainError: The disk is full.
    """
    options = {"temperature": 0.0, "adapter": adapter, "max_new_tokens": max_new_tokens}
    options = {name: value for name, value in options.items() if value is not None}
    engine, prompt = pipeline.wording(adapter)
    identity = {
        "schema_version": SCHEMA_VERSION,
        "task": pipeline.task.name,
        "engine": engine.provenance(),
        "prompt": prompt.digest(engine.chat_template),
        "options": options,
        "requests": list(requests),
    }
    name = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:32]
    file = RecordFile(folder / f"{name}.jsonl")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.mend()
    found = _read(file)
    advance(len(found))
    while len(found) < len(requests):
        window = requests[len(found) : len(found) + _AT_ONCE]
        outcomes = pipeline.batch([{**options, **request} for request in window], errors="return")
        fresh = []
        for outcome in outcomes:
            if isinstance(outcome, UnavailableError):
                raise outcome
            if isinstance(outcome, CinquainError):
                fresh.append(Answer("", "error", outcome.code))
            else:
                fresh.append(Answer(outcome.text, outcome.finish_reason, tokens=outcome.usage.completion_tokens))
        file.append([{"row": row, **asdict(answer)} for row, answer in enumerate(fresh, len(found))])
        found += fresh
        advance(len(fresh))
    return found


def _read(file: RecordFile) -> list[Answer]:
    """The answers up to the first row without one: from a line that is damaged on, rows are asked again."""
    known = {entry.pop("row"): Answer(**entry) for entry in file.read()[0]}
    return [known[row] for row in takewhile(known.__contains__, count())]
