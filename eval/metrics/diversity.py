"""Does a model repeat itself: within a reply, and from reply to reply."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics.base import Metric, fault_rate, mean, percent, row_by_row
from eval.metrics.words import SIGNATURE, grams, words
from pipelines.text.repetition import LEAST_CHARACTERS, LEAST_TIMES, repeated_end

__all__ = ["distinct", "loop", "repetition", "self_bleu"]

_ORDERS = 4
"""Of BLEU: words up to four in a row."""


def distinct(n: int) -> Metric:
    """Share of different n-grams among those of all replies (Li et al. 2016, arXiv:1510.03055).

    Falls with the number of rows and the length of the replies: it compares systems on the same rows only.

    Args:
        n: Words in a row.
    """

    def of_rows(replies: Sequence[str], rows: Sequence[BenchmarkRow]) -> np.ndarray:
        # Each n-gram is shared out among the places where it stands, so that the sum over the rows is the number of
        # different ones. A resample keeps those shares: drawing a row twice makes no system look dull.
        found = [grams(words(reply), n) for reply in replies]
        times = Counter(gram for of_reply in found for gram in of_reply)
        return np.array([(sum(1 / times[gram] for gram in of_reply), len(of_reply)) for of_reply in found], float)

    name = f"distinct-{n}"
    return Metric(f"distinct_{n}", name, f"{name}|{SIGNATURE}", of_rows, percent)


def self_bleu() -> Metric:
    """BLEU of each reply against all others, mean over the replies (Zhu et al. 2018, arXiv:1802.01886).

    100 where all replies are the same; lower is better. Empty replies and single rows say nothing.
    """
    from sacrebleu.metrics import BLEU

    def of_rows(replies: Sequence[str], rows: Sequence[BenchmarkRow]) -> np.ndarray:
        found = [words(reply) for reply in replies]
        lengths = Counter(len(of_reply) for of_reply in found)
        most = [_most([grams(of_reply, order) for of_reply in found]) for order in range(1, _ORDERS + 1)]
        scores = []
        for place, of_reply in enumerate(found):
            others = lengths - Counter([len(of_reply)])
            if not of_reply or not others:
                scores.append((0.0, 0.0))
                continue
            correct, total = [], []
            for order, table in enumerate(most, 1):
                counts = Counter(grams(of_reply, order))
                correct.append(sum(min(times, table[gram].without(place)) for gram, times in counts.items()))
                total.append(counts.total())
            nearest = min(others, key=lambda length: (abs(length - len(of_reply)), length))
            score = BLEU.compute_bleu(
                correct, total, len(of_reply), nearest, smooth_method="exp", effective_order=True
            ).score
            scores.append((score, 1.0))
        return np.array(scores, float)

    return Metric("self_bleu", "self-BLEU", f"self-BLEU|{SIGNATURE}|smooth:exp", of_rows, mean, higher_is_better=False)


def repetition() -> Metric:
    """Share of a reply's runs of four words that it has had already, mean over the replies (Welleck et al. 2020)."""

    def of_row(reply: str, row: BenchmarkRow) -> tuple[float, float]:
        found = grams(words(reply), 4)
        return (100 * (1 - len(set(found)) / len(found)), 1) if found else (0, 0)

    signature = f"repeated 4-grams|{SIGNATURE}"
    return Metric("repetition", "repeated 4-grams", signature, row_by_row(of_row), mean, higher_is_better=False)


def loop() -> Metric:
    """How many replies end in one passage again and again (``pipelines.text.repetition``)."""
    limits = f"≥ {LEAST_TIMES} times, ≥ {LEAST_CHARACTERS} characters"
    return fault_rate("loop", "ends in a loop", limits, lambda reply, row: bool(repeated_end(reply)))


class _Most:
    """How often an n-gram stands in one text at most, of all texts or of all but one."""

    def __init__(self) -> None:
        self.first, self.second, self.owner = 0, 0, -1

    def add(self, times: int, owner: int) -> None:
        if times > self.first:
            self.first, self.second, self.owner = times, self.first, owner
        elif times > self.second:
            self.second = times

    def without(self, owner: int) -> int:
        return self.second if owner == self.owner else self.first


def _most(texts: Sequence[Sequence[tuple[str, ...]]]) -> dict[tuple[str, ...], _Most]:
    found: dict[tuple[str, ...], _Most] = {}
    for owner, text in enumerate(texts):
        for gram, times in Counter(text).items():
            found.setdefault(gram, _Most()).add(times, owner)
    return found
