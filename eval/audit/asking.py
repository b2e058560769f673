"""Rows that every side of an audit answers: benchmarks like any other, so that a run goes on where it was stopped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.audit.subject import Subject
from eval.benchmarks import Benchmark, BenchmarkRow, load_benchmark
from eval.records import Record, Run
from eval.runner import run
from pipelines.errors import InputError

__all__ = ["Answers", "Progress", "asked", "last_turn", "load_pairs", "shipped"]

Progress = Callable[[str, float, float], None]
"""Called with the name of what is measured, what of it is done, and how much it is."""

_ROWS = Path(__file__).with_name("rows")
_HUB = Path(__file__).with_name("hub")


@dataclass(frozen=True)
class Answers:
    """What all sides answered.

    Attributes:
        benchmark: What was asked.
        runs: Of each side.
    """

    benchmark: Benchmark
    runs: tuple[Run, ...]

    @property
    def rows(self) -> tuple[BenchmarkRow, ...]:
        """The rows that were asked."""
        return self.benchmark.rows

    def replies(self) -> list[list[str | None]]:
        """Of each side the reply to each row; None where none came."""
        known = [{record.row_id: record for record in each.records} for each in self.runs]
        return [[_reply(side.get(row.id)) for row in self.rows] for side in known]

    def judged(self, verdict: Callable[[BenchmarkRow, str], bool | None]) -> list[list[bool | None]]:
        """Of each side a verdict on each reply; None where none came, or where it says nothing."""
        return [
            [None if reply is None else verdict(row, reply) for row, reply in zip(self.rows, side, strict=True)]
            for side in self.replies()
        ]

    def kinds(self) -> list[str]:
        """Category of each row."""
        return [row.kind for row in self.rows]

    def languages(self) -> list[str]:
        """Language of each row."""
        return [row.language for row in self.rows]

    def examples(self, chosen: Sequence[Sequence[bool | None]], most: int = 4) -> tuple[tuple[str, str], ...]:
        """Rows of the last side that were chosen: what was asked, and what was replied."""
        last = zip(self.rows, self.replies()[-1], chosen[-1], strict=True)
        found = [(last_turn(row), reply) for row, reply, mark in last if mark and reply is not None]
        return tuple(found[:most])

    def provenance(self) -> tuple[dict[str, Any], ...]:
        """Where the records lie, and hashes of what decides them."""
        return tuple(
            {
                "benchmark": f"{each.benchmark}@{each.version}",
                "benchmark_sha256": each.benchmark_sha256,
                "folder": str(each.folder),
                "costs": each.costs,
            }
            for each in self.runs
        )


def shipped(name: str) -> Benchmark:
    """Rows of the audit by name; see ``rows/README.md``."""
    return load_benchmark(str(_ROWS / f"{name}.yaml"))


def load_pairs(reference: str) -> Benchmark:
    """Pairs of sentences, or questions with answers, from elsewhere: a set of the Hub that is known here, or a file.

    Raises:
        InputError: There is no such set, or its rows lack what is compared: ``audit_pairs_facts``.
        CinquainError: The Hub cannot be asked.
    """
    known = _HUB / f"{reference}.yaml"
    benchmark = load_benchmark(str(known) if known.is_file() else reference)
    wanted = {"stereotyped", "other"}
    for row in benchmark.rows:
        if not wanted <= set(row.facts) and "who" not in row.facts:
            names = [path.stem for path in sorted(_HUB.glob("*.yaml"))]
            raise InputError("audit_pairs_facts", name=benchmark.name, row=row.id, known=names)
    return benchmark


def asked(subject: Subject, benchmark: Benchmark, progress: Progress) -> Answers:
    """Ask every side the rows of a benchmark, greedily.

    Raises:
        InputError: The model cannot do the task.
        UnavailableError: A remote model cannot be had any more; what it answered stays.
        CinquainError: The disk is full, or another process asks the same.
    """
    runs = []
    total = len(benchmark.rows) * len(subject.sides)
    for number, side in enumerate(subject.sides):

        def show(done: float, before: int = number * len(benchmark.rows)) -> None:
            progress(benchmark.name, before + done, total)

        runs.append(
            run(
                benchmark,
                subject.pipeline(benchmark.task),
                subject.folder,
                adapter=side if subject.adapter else None,
                engine_options=subject.engine_options,
                alone=0,
                command=subject.command,
                cancel=subject.cancel,
                progress=show,
            )
        )
    return Answers(benchmark, tuple(runs))


def last_turn(row: BenchmarkRow) -> str:
    """What a person asked last."""
    return str(row.request["messages"][-1]["content"])


def _reply(record: Record | None) -> str | None:
    return None if record is None or record.error else record.reply
