"""What can be asked of the replies of any task: that there are some, and that they hold what they must hold."""

from collections.abc import Sequence
from dataclasses import replace

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics.base import Metric, fault_rate, percent, row_by_row
from eval.metrics.words import SIGNATURE, holds, words
from pipelines.errors import InputError

__all__ = ["empty", "keywords"]


def empty() -> Metric:
    """How many replies have nothing but blank space."""
    found = fault_rate("empty", "empty", "blank space only", lambda reply, row: not reply.strip())
    return replace(found, worst=100.0)


def keywords(key: str, name: str) -> Metric:
    """Share of ``facts["keywords"]`` that stand in the replies, as whole words and in any case.

    Each entry is a text, or a list of texts of which one is enough: other forms of the word, other ways to write it.

    Args:
        key: See ``Metric``.
        name: See ``Metric``.
    """

    def of_row(reply: str, row: BenchmarkRow) -> tuple[float, float]:
        wanted, found = _entries(row), words(reply)
        return sum(any(holds(found, words(form)) for form in forms) for forms in wanted), len(wanted)

    return Metric(key, name, f"{name}|{SIGNATURE}", row_by_row(of_row), percent, best=100.0, worst=0.0)


def _entries(row: BenchmarkRow) -> list[Sequence[str]]:
    given = row.facts.get("keywords", [])
    if isinstance(given, list | tuple):
        entries = [[entry] if isinstance(entry, str) else entry for entry in given]
        if all(isinstance(entry, list | tuple) and entry and all(map(_is_word, entry)) for entry in entries):
            return entries
    raise InputError("metric_keywords", row=row.id, found=repr(given)[:80])


def _is_word(form: object) -> bool:
    return isinstance(form, str) and bool(words(form))
