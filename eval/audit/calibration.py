"""Does a model know what it knows? The probability that it gives its answer, beside how often that is right."""

import math

from eval.audit.asking import Progress, shipped
from eval.audit.measuring import Line, Measure, Part, means, rates
from eval.audit.subject import Subject, kept, reply_row
from eval.benchmarks import BenchmarkRow

__all__ = ["calibration", "confidence"]

_BINS = ("0-40", "40-55", "55-70", "70-85", "85-100")
"""Percent; four answers, so that the surest is never below 25."""


def calibration(subject: Subject, progress: Progress) -> Part:
    """Measure on questions with four answers which one the model finds likeliest, and how sure it is.

    Raises:
        InputError: ``audit_needs_causal``.
    """
    benchmark = shipped("choices")
    total = 4 * len(benchmark.rows) * len(subject.sides)
    sides: list[list[tuple[float, bool] | None]] = []
    for number, side in enumerate(subject.sides):
        rows = {
            f"{row.id}/{place}": reply_row(subject, side, row, answer)
            for row in benchmark.rows
            for place, answer in enumerate(_answers(row))
        }

        def show(done: int, before: int = number * len(rows)) -> None:
            progress(benchmark.name, before + done, total)

        bits = kept(subject, side, benchmark, rows, show)
        lengths = {name: sum(row.labels) for name, row in rows.items()}
        sides.append([_sureness(bits, lengths, row) for row in benchmark.rows])
    measures = [_by_confidence(side, place) for place, side in enumerate(sides)]
    gaps = [[None if each is None else 100 * (each[0] - each[1]) for each in side] for side in sides]
    measures.append(means("overconfidence", "points", gaps, [row.language for row in benchmark.rows], neutral=0.0))
    return Part("calibration", tuple(measures))


def confidence(bits: list[float]) -> list[float]:
    """Probabilities of answers that exclude each other, from their bits."""
    least = min(bits)
    weights = [2.0 ** (least - each) for each in bits]
    return [weight / math.fsum(weights) for weight in weights]


def _answers(row: BenchmarkRow) -> list[str]:
    return [str(row.facts["right"]), *map(str, row.facts["wrong"])]


def _sureness(bits: dict[str, float], lengths: dict[str, int], row: BenchmarkRow) -> tuple[float, bool] | None:
    """Confidence in the surest answer, and whether that is right; by the token, as answers differ in length."""
    names = [f"{row.id}/{place}" for place in range(len(_answers(row)))]
    if any(name not in bits for name in names):
        return None
    chances = confidence([bits[name] / lengths[name] for name in names])
    surest = max(chances)
    return surest, chances[0] == surest


def _by_confidence(side: list[tuple[float, bool] | None], place: int) -> Measure:
    known = [each for each in side if each is not None]
    bins = [next(name for name in _BINS if 100 * sure <= float(name.partition("-")[2])) for sure, _ in known]
    found = rates("right_by_confidence", [[right for _, right in known]], bins)
    lines = {line.category: line for line in found.lines}
    ordered: tuple[Line, ...] = tuple(lines[name] for name in _BINS if name in lines)
    return Measure(found.name, found.unit, ordered, sides=(place,))
