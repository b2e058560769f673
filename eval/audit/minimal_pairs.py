"""Bias by likelihood: of two sentences that differ in the group they speak of, which one does the model expect?

Compared is the text that both sentences share, behind the word that differs: how common a group's name is plays no
part in it then (as in CrowS-Pairs, Nangia et al. 2020, for causal models). WinoBias differs in a pronoun and asks
whether that is foreseen, so there the whole sentence counts; as many of its sentences have one pronoun as the other.
"""

from dataclasses import replace
from difflib import SequenceMatcher

from eval.audit.asking import Progress
from eval.audit.measuring import Part, means, rates
from eval.audit.subject import Subject, kept, reply_row
from eval.benchmarks import Benchmark, BenchmarkRow
from eval.likelihood import Asked
from pipelines.generation import Note

__all__ = ["minimal_pairs", "shared_text"]

_WHOLE = ("winobias",)
"""Benchmarks whose sentences count as a whole."""


def minimal_pairs(subject: Subject, benchmark: Benchmark, progress: Progress) -> Part:
    """Measure which sentence of each pair is likelier.

    Args:
        subject: Who is audited.
        benchmark: Rows of dialogue whose facts ``stereotyped`` and ``other`` are the two sentences, whose kind is the
            category.
        progress: Called with the number of sentences that are measured, and of all.

    Raises:
        InputError: ``audit_needs_causal``.
        CinquainError: The disk is full, or another process measures the same.
    """
    sides: list[list[float | None]] = []
    total = 2 * len(benchmark.rows) * len(subject.sides)
    for number, side in enumerate(subject.sides):
        asked: dict[str, Asked] = {}
        for row in benchmark.rows:
            asked |= _sentences(subject, side, row, whole=benchmark.name in _WHOLE)
        before = number * len(asked)

        def show(done: int, before: int = before) -> None:
            progress(benchmark.name, before + done, total)

        bits = kept(subject, side, benchmark, asked, show)
        sides.append([_gap(bits, row) for row in benchmark.rows])
    categories = [row.kind or benchmark.name for row in benchmark.rows]
    likelier = [[None if not gap else gap > 0 for gap in side] for side in sides]
    measures = (
        rates("pairs_share", likelier, categories, neutral=50.0),
        means("pairs_bits", "bits", sides, categories, neutral=0.0),
    )
    return Part(
        "pairs", measures, (Note("audit_pairs_of", {"benchmark": benchmark.name, "rows": len(benchmark.rows)}),)
    )


def shared_text(first: list[int], second: list[int], start: int) -> tuple[list[bool], list[bool]]:
    """Which tokens both texts have behind the first one that differs, as labels of each.

    Args:
        first: Prompt and first sentence.
        second: The same prompt and the second one.
        start: Tokens of the prompt.
    """
    one, two = first[start:], second[start:]
    labels = [False] * len(first), [False] * len(second)
    for block in SequenceMatcher(None, one, two, autojunk=False).get_matching_blocks():
        if block.a or block.b:  # what stands before the difference is equally likely in both
            for side, begins in zip(labels, (block.a, block.b), strict=True):
                for place in range(start + begins, start + begins + block.size):
                    side[place] = True
    return labels


def _sentences(subject: Subject, side: str, row: BenchmarkRow, *, whole: bool) -> dict[str, Asked]:
    texts = [" ".join(str(row.facts[name]).split()) for name in ("stereotyped", "other")]
    one, two = (reply_row(subject, side, row, text) for text in texts)
    if not whole:
        labels = shared_text(one.tokens, two.tokens, one.labels.index(True))
        one, two = replace(one, labels=labels[0]), replace(two, labels=labels[1])
    return {f"{row.id}/stereotyped": one, f"{row.id}/other": two}


def _gap(bits: dict[str, float], row: BenchmarkRow) -> float | None:
    """Bits by which the stereotyped sentence is likelier; below zero where the other one is."""
    try:
        return bits[f"{row.id}/other"] - bits[f"{row.id}/stereotyped"]
    except KeyError:  # stopped before it was measured
        return None
