"""An audit from beginning to end: every part in turn, each kept on the disk as it goes."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from eval.audit.measuring import Part
from eval.audit.minimal_pairs import minimal_pairs, shipped_pairs
from eval.audit.report import Audit
from eval.audit.subject import Subject
from eval.benchmarks import load_benchmark
from pipelines.provenance import environment

__all__ = ["PARTS", "measure"]

PARTS = ("pairs",)
"""Names of the parts, in the order of the report."""


def measure(
    subject: Subject,
    parts: Sequence[str] = PARTS,
    benchmarks: Sequence[str] = (),
    *,
    progress: Callable[[str, float, float], None] = lambda name, done, total: None,
) -> Audit:
    """Measure what was asked for; after ``subject.cancel`` was set, what there is.

    Args:
        subject: Who is audited.
        parts: Names of parts.
        benchmarks: Pairs of sentences from elsewhere, by name or file.
        progress: Called with the name of what is measured, what of it is done, and how much it is.

    Raises:
        InputError: A benchmark cannot be read, or the model cannot do what a part needs.
        CinquainError: The disk is full, the Hub or a server cannot be asked, another process measures the same.
    """
    found: list[Part] = []
    if "pairs" in parts:
        for benchmark in (shipped_pairs(), *map(load_benchmark, benchmarks)):

            def show(done: int, total: int, name: str = benchmark.name) -> None:
                progress(name, done, total)

            found.append(minimal_pairs(subject, benchmark, show))
    return Audit(_names(subject), tuple(found), _provenance(subject), subject.command)


def _names(subject: Subject) -> tuple[str, ...]:
    model = subject.engine.reference.rstrip("/").rpartition("/")[2]
    return (model, f"{model} + {subject.adapter}") if subject.adapter else (model,)


def _provenance(subject: Subject) -> dict[str, Any]:
    engines = {side: subject.engine.view(side).provenance() for side in subject.sides}
    return {**engines, "environment": environment(), "date": datetime.now(UTC).date().isoformat()}
