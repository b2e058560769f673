"""Counterfactual swaps: the same request about somebody else. Does the reply change in length, score or substance?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from eval.audit.asking import Answers, Progress, asked
from eval.audit.measuring import Measure, Part, means, rates
from eval.audit.replies import refuses
from eval.audit.subject import Subject
from eval.audit.swapping import SWAPS, swapped_row
from eval.benchmarks import Benchmark, BenchmarkRow, load_benchmark
from eval.metrics import named
from eval.metrics.words import words
from eval.scoring import row_scores
from pipelines.errors import InputError
from pipelines.generation import Note

__all__ = ["load_prompts", "swaps"]

Numbers = list[list[float | None]]
"""Of each side, one for each row."""


def load_prompts(reference: str) -> Benchmark:
    """Prompts to swap: a benchmark by name or file, or a text file with a prompt on each line.

    Raises:
        InputError: There is no such benchmark, or the file cannot be read or holds no prompt.
    """
    path = Path(reference).expanduser()
    if path.suffix.lower() != ".txt":
        return load_benchmark(reference)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        problem = (isinstance(error, OSError) and error.strerror) or str(error)
        raise InputError("benchmark_unreadable", path=str(path), problem=problem) from error
    if not lines:
        raise InputError("benchmark_empty", name=path.name)
    rows = tuple(
        BenchmarkRow(str(number), {"messages": [{"role": "user", "content": line}]})
        for number, line in enumerate(lines, 1)
    )
    return Benchmark(path.stem, 1, "dialogue", rows, ("empty",))


def swaps(subject: Subject, benchmark: Benchmark, progress: Progress) -> Part:
    """Ask the rows that speak of a person, and once more with each swap that changes them.

    Args:
        subject: Who is audited.
        benchmark: Rows of any task.
        progress: As for ``eval.audit.asking.asked``.
    """
    changed = {kind: _swapped(benchmark, kind) for kind in SWAPS}
    wanted = {row.id for each in changed.values() for row in each}
    if not wanted:
        return Part("swaps", (), (Note("audit_no_swaps", {"benchmark": benchmark.name}),))
    plain = replace(benchmark, rows=tuple(row for row in benchmark.rows if row.id in wanted))
    before = asked(subject, plain, progress)
    after = {
        kind: asked(subject, replace(benchmark, name=f"{benchmark.name}-{kind}", rows=rows), progress)
        for kind, rows in changed.items()
        if rows
    }
    kinds = [kind for kind, answers in after.items() for _ in answers.rows]
    lengths = _changes(before, after, lambda found: [[_length(each) for each in side] for side in found.replies()])
    measures = [means("swap_length", "words", lengths, kinds, neutral=0.0)]
    refused = _changes(before, after, _refusals)
    measures.append(means("swap_refused", "points", refused, kinds, neutral=0.0))
    if any(row.references for row in benchmark.rows) or benchmark.metrics[0] != "empty":
        measures.append(_scored(before, after, kinds))
    measures.append(rates("swap_differs", _differs(before, after), kinds))
    notes = (Note("audit_swapped", {"benchmark": benchmark.name, "rows": len(plain.rows)}),)
    provenance = before.provenance() + tuple(each for answers in after.values() for each in answers.provenance())
    return Part("swaps", tuple(measures), notes, examples=_examples(before, after), provenance=provenance)


def _swapped(benchmark: Benchmark, kind: str) -> tuple[BenchmarkRow, ...]:
    found = (swapped_row(row, kind, benchmark.task) for row in benchmark.rows)
    return tuple(row for row in found if row is not None)


def _changes(before: Answers, after: Mapping[str, Answers], values: Callable[[Answers], Numbers]) -> Numbers:
    """Of each side, swap by swap and row by row, the value after the swap minus that before."""
    places = {row.id: place for place, row in enumerate(before.rows)}
    first = values(before)
    found: list[list[float | None]] = [[] for _ in first]
    for answers in after.values():
        second = values(answers)
        for side, one, two in zip(found, first, second, strict=True):
            for place, row in enumerate(answers.rows):
                old, new = one[places[row.id]], two[place]
                side.append(None if old is None or new is None else float(new) - float(old))
    return found


def _scored(before: Answers, after: dict[str, Answers], kinds: Sequence[str]) -> Measure:
    """The change of the benchmark's leading metric."""
    metric = named(before.benchmark.metrics[0])

    def values(found: Answers) -> Numbers:
        return [
            [None if score != score else float(score) for score in row_scores(metric, metric.statistics(texts, rows))]
            for side in found.replies()
            for texts, rows in [([each or "" for each in side], found.rows)]
        ]

    return means("swap_score", "points", _changes(before, after, values), kinds, neutral=0.0)


def _differs(before: Answers, after: dict[str, Answers]) -> list[list[bool | None]]:
    """Whether a reply says something else once the swap is made in the first reply, too."""
    places = {row.id: place for place, row in enumerate(before.rows)}
    found: list[list[bool | None]] = [[] for _ in before.runs]
    for kind, answers in after.items():
        for side, one, two in zip(found, before.replies(), answers.replies(), strict=True):
            for place, row in enumerate(answers.rows):
                old, new = one[places[row.id]], two[place]
                side.append(None if old is None or new is None else SWAPS[kind](old) != new)
    return found


def _examples(before: Answers, after: dict[str, Answers]) -> tuple[tuple[str, str], ...]:
    """For each swap the two replies whose lengths differ most, of the last side."""
    known = {row.id: reply for row, reply in zip(before.rows, before.replies()[-1], strict=True)}
    found = []
    for kind, answers in after.items():
        pairs = [(row, known[row.id], reply) for row, reply in zip(answers.rows, answers.replies()[-1], strict=True)]
        told = [(row, one, two) for row, one, two in pairs if one is not None and two is not None]
        told.sort(key=lambda each: -abs(len(each[1]) - len(each[2])))
        for row, one, two in told[:1]:
            found.append((f"{kind} {row.id}", f"{one}\n\n⇄\n\n{two}"))
    return tuple(found)


def _length(reply: str | None) -> float | None:
    return None if reply is None else float(len(words(reply)))


def _refusals(found: Answers) -> Numbers:
    """100 for a refusal, 0 for another reply: the mean of changes is one of percentage points."""
    judged = found.judged(lambda row, reply: refuses(reply))
    return [[None if mark is None else 100.0 * mark for mark in side] for side in judged]
