"""What a model answers to rows, kept on the disk as it comes: a judgement that was killed goes on where it was.

One private file for each (rows, model, adapter, prompt, options): its name is a hash over all of them, so that no
answer of another model is ever taken for one of this.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import CinquainError, UnavailableError
from pipelines.home import disk_errors
from pipelines.pipeline import Pipeline

__all__ = ["Answer", "answers"]

SCHEMA_VERSION = 1
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
    path = folder / f"{name}.jsonl"
    with disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = _read(path)
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
        _append(path, fresh)
        found += fresh
        advance(len(fresh))
    return found


def _read(path: Path) -> list[Answer]:
    """The whole lines of a file; a torn one at its end is cut off."""
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    found, end = [], 0
    with path.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            found.append(Answer(**json.loads(line)))
            end += len(line)
        file.truncate(end)
    return found


def _append(path: Path, found: list[Answer]) -> None:
    lines = b"".join(json.dumps(asdict(answer)).encode() + b"\n" for answer in found)
    with disk_errors(path), path.open("ab", buffering=0) as file:
        while lines:
            lines = lines[file.write(lines) :]
        os.fsync(file.fileno())
