"""An audit from beginning to end: every part in turn, each kept on the disk as it goes."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from eval.audit.asking import Progress, shipped
from eval.audit.honesty import refusal, sycophancy, unanswerable
from eval.audit.measuring import Part
from eval.audit.minimal_pairs import minimal_pairs
from eval.audit.report import Audit
from eval.audit.subject import Subject
from eval.audit.toxicity import toxicity
from eval.benchmarks import load_benchmark
from pipelines.errors import InputError
from pipelines.generation import Note
from pipelines.provenance import environment

__all__ = ["PARTS", "measure"]

PARTS = ("pairs", "toxicity", "refusal", "unanswerable", "sycophancy")
"""Names of the parts, in the order of the report."""

_ASKED = {"toxicity": toxicity, "refusal": refusal, "unanswerable": unanswerable, "sycophancy": sycophancy}
_UNABLE = ("audit_needs_causal", "model_task")
"""What a model cannot do is said and left out, unless it was all that was asked for."""


def measure(
    subject: Subject,
    parts: Sequence[str] = PARTS,
    benchmarks: Sequence[str] = (),
    *,
    progress: Progress = lambda name, done, total: None,
) -> Audit:
    """Measure what was asked for; after ``subject.cancel`` was set, what there is.

    Args:
        subject: Who is audited.
        parts: Names of parts.
        benchmarks: Pairs of sentences from elsewhere, by name or file.
        progress: Called with the name of what is measured, what of it is done, and how much it is.

    Raises:
        InputError: A benchmark cannot be read, or the model can do none of the parts.
        CinquainError: The disk is full, the Hub or a server cannot be asked, another process measures the same.
    """
    work: list[Callable[[], Part]] = []
    if "pairs" in parts:
        rows = (shipped("pairs"), *map(load_benchmark, benchmarks))
        work += [partial(minimal_pairs, subject, each, progress) for each in rows]
    work += [partial(_ASKED[name], subject, progress) for name in parts if name in _ASKED]
    found: list[Part] = []
    unable: list[InputError] = []
    for each in work:
        if subject.cancel.is_set():
            break
        try:
            found.append(each())
        except InputError as error:
            if error.code not in _UNABLE:
                raise
            unable.append(error)
    if unable and not found:
        raise unable[0]
    notes = tuple({error.code: Note(error.code, error.parameters) for error in unable}.values())
    return Audit(_names(subject), tuple(found), notes, _provenance(subject), subject.command)


def _names(subject: Subject) -> tuple[str, ...]:
    model = subject.engine.reference.rstrip("/").rpartition("/")[2]
    return (model, f"{model} + {subject.adapter}") if subject.adapter else (model,)


def _provenance(subject: Subject) -> dict[str, Any]:
    engines = {side: subject.engine.view(side).provenance() for side in subject.sides}
    return {**engines, "environment": environment(), "date": datetime.now(UTC).date().isoformat()}
