"""An audit from beginning to end: every part in turn, each kept on the disk as it goes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from eval.audit.asking import Progress, shipped
from eval.audit.calibration import calibration
from eval.audit.choosing import choosing
from eval.audit.cost import cost
from eval.audit.honesty import refusal, sycophancy, unanswerable
from eval.audit.measuring import Part
from eval.audit.minimal_pairs import minimal_pairs
from eval.audit.personal import personal
from eval.audit.privacy import privacy, read_ledger
from eval.audit.report import Audit
from eval.audit.subject import Subject
from eval.audit.swaps import swaps
from eval.audit.toxicity import toxicity
from eval.benchmarks import Benchmark
from pipelines.errors import InputError
from pipelines.generation import Note
from pipelines.provenance import environment

__all__ = ["PARTS", "Wanted", "measure"]

PARTS = (
    *("pairs", "swaps", "toxicity", "refusal", "unanswerable", "sycophancy", "calibration", "personal", "privacy"),
    "cost",
)
"""Names of the parts, in the order of the report."""

_UNABLE = ("audit_needs_causal", "model_task")
"""What a model cannot do is said and left out, unless it was all that was asked for."""


@dataclass(frozen=True)
class Wanted:
    """What an audit is asked for.

    Attributes:
        parts: Names of parts.
        pairs: Pairs of sentences beside those that ship.
        prompts: Benchmarks whose rows are swapped; those that ship where none is named.
        ledger: Folder of the rows that were trained on; None where they are not at hand.
        tariff: Price of this machine for an hour.
    """

    parts: Sequence[str] = PARTS
    pairs: Sequence[Benchmark] = ()
    prompts: Sequence[Benchmark] = ()
    ledger: Path | None = None
    tariff: float | None = None


def measure(
    subject: Subject, wanted: Wanted | None = None, *, progress: Progress = lambda name, done, total: None
) -> Audit:
    """Measure what was asked for; after ``subject.cancel`` was set, what there is.

    Args:
        subject: Who is audited.
        wanted: What is asked for; all there is where None.
        progress: Called with the name of what is measured, what of it is done, and how much it is.

    Raises:
        InputError: The model can do none of the parts, or the ledger cannot be read.
        CinquainError: The disk is full, a server cannot be asked, another process measures the same.
    """
    wanted = wanted or Wanted()
    found: list[Part] = []
    unable: list[InputError] = []
    notes: list[Note] = []
    if "privacy" in wanted.parts and wanted.ledger is None:
        notes.append(Note("audit_no_ledger"))
    for work in _work(subject, wanted, progress):
        if subject.cancel.is_set():
            break
        try:
            found.append(work())
        except InputError as error:
            if error.code not in _UNABLE:
                raise
            unable.append(error)
    if unable and not found:
        raise unable[0]
    notes += {error.code: Note(error.code, error.parameters) for error in unable}.values()
    return Audit(_names(subject), tuple(found), tuple(notes), _provenance(subject), subject.command)


def _work(subject: Subject, wanted: Wanted, progress: Progress) -> list[Callable[[], Part]]:
    """The parts in their order."""
    ledger = read_ledger(wanted.ledger) if wanted.ledger and "privacy" in wanted.parts else None
    prompts = wanted.prompts or (shipped("people"),)
    known: dict[str, list[Callable[[], Part]]] = {
        "pairs": [
            partial(choosing if "who" in each.rows[0].facts else minimal_pairs, subject, each, progress)
            for each in (shipped("pairs"), *wanted.pairs)
        ],
        "swaps": [partial(swaps, subject, each, progress) for each in prompts],
        "toxicity": [partial(toxicity, subject, progress)],
        "refusal": [partial(refusal, subject, progress)],
        "unanswerable": [partial(unanswerable, subject, progress)],
        "sycophancy": [partial(sycophancy, subject, progress)],
        "calibration": [partial(calibration, subject, progress)],
        "personal": [partial(personal, subject, progress)],
        "privacy": [partial(privacy, subject, ledger, progress)] if ledger else [],
        "cost": [partial(cost, subject, progress, wanted.tariff)],
    }
    return [work for name in PARTS if name in wanted.parts for work in known[name]]


def _names(subject: Subject) -> tuple[str, ...]:
    model = subject.engine.reference.rstrip("/").rpartition("/")[2]
    return (model, f"+ {subject.adapter}") if subject.adapter else (model,)


def _provenance(subject: Subject) -> dict[str, Any]:
    engines = {side: subject.engine.view(side).provenance() for side in subject.sides}
    return {**engines, "environment": environment(), "date": datetime.now(UTC).date().isoformat()}
