"""What a difference between scores is worth: intervals, paired tests, and how many rows it would take to tell.

Two systems that answered the same rows are always compared row by row. That takes out how hard each row is: at 100
rows, 60 against 70 % right, an unpaired z-test finds the difference one time in four, McNemar's test more than one
time in two (``tests/test_eval_statistics.py`` repeats that simulation).

Corpus metrics such as BLEU are no mean over rows. They are given as sufficient statistics, one vector for each row
(n-gram counts, lengths), and a function from the sum of such vectors to the score.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

__all__ = [
    "Comparison",
    "Interval",
    "bootstrap",
    "compare",
    "compare_rates",
    "holm",
    "mcnemar",
    "rows_to_tell",
    "sign_flip",
    "smallest_gap",
    "wilson",
]

Score = Callable[[np.ndarray], float]
"""From the sum of the rows' statistics, shape (k,), to the score of the corpus."""

ROUNDS = 2000
"""Of a bootstrap or a permutation test: a p-value of 0.05 is then known to within 0.01 (two standard errors)."""
_TRIED_AT_ONCE = 4_000_000
"""Numbers that one draw of a resampling may hold in memory."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval, both ends included."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """How a second system differs from a first one on the same rows.

    Attributes:
        rows: Rows that both answered.
        first: Score of the first system.
        second: Score of the second system.
        interval: Of ``difference``, paired.
        p_value: Two-sided, that such a difference comes by chance.
        alpha: Level from which a difference counts.
        rows_needed: Rows that would show a difference of this size with a probability of 0.8; None where there is
            no difference at all.
    """

    rows: int
    first: float
    second: float
    interval: Interval
    p_value: float
    alpha: float
    rows_needed: int | None

    @property
    def difference(self) -> float:
        """How much higher the second one scores."""
        return self.second - self.first

    @property
    def verdict(self) -> str:
        """``higher``, ``lower`` or ``cannot_tell``: the test must find a difference and the interval leave out zero."""
        if self.p_value < self.alpha and self.interval.low > 0:
            return "higher"
        if self.p_value < self.alpha and self.interval.high < 0:
            return "lower"
        return "cannot_tell"


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Interval of a rate (Wilson 1927), for few rows too: ``p ± 2 standard errors`` says [0, 0] of 0 in 24.

    Returns:
        The interval; [0, 1] without any trial.
    """
    if not trials:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, shrunk = successes / trials, 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / shrunk
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / shrunk
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value that two systems are right equally often (McNemar 1947).

    Args:
        only_first: Rows that only the first system has right.
        only_second: Rows that only the second one has right.
    """
    differing = only_first + only_second
    tail = sum(math.comb(differing, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**differing)


def sign_flip(first: Sequence[float], second: Sequence[float], *, rounds: int = ROUNDS, seed: int = 0) -> float:
    """Two-sided p-value that the mean difference of paired scores is zero, by permutation.

    Exact where the pairs that differ allow no more than ``rounds`` assignments of signs.

    Raises:
        ValueError: Different numbers of scores.
    """
    differences = _pairs(first, second)
    differences = differences[differences != 0]
    count = len(differences)
    if not count:
        return 1.0
    observed = abs(differences.sum())
    tolerance = 1e-12 * np.abs(differences).sum()
    if 2**count <= rounds:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float(np.mean(np.abs(signs @ differences) >= observed - tolerance))
    generator = np.random.default_rng(seed)
    extreme = 0
    for tried in _portions(rounds, count):
        signs = 1 - 2 * generator.integers(0, 2, (tried, count), dtype=np.int8)
        extreme += int((np.abs(signs @ differences) >= observed - tolerance).sum())
    return (1 + extreme) / (1 + rounds)


def bootstrap(
    statistics: np.ndarray, score: Score, *, rounds: int = ROUNDS, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile interval of a corpus score (Efron 1979).

    Args:
        statistics: Of each row, shape (rows, k).
        score: From their sum to the score.
        rounds: Resamples.
        confidence: How often such an interval holds the true score.
        seed: Of the resamples.
    """
    return _percentiles([score(total) for total in _resampled(np.asarray(statistics), rounds, seed)], confidence)


def compare(
    first: np.ndarray,
    second: np.ndarray,
    score: Score,
    *,
    rounds: int = ROUNDS,
    alpha: float = 0.05,
    seed: int = 0,
) -> Comparison:
    """Compare two systems by a corpus metric on the same rows.

    The interval is a paired bootstrap; the p-value comes from approximate randomization, which exchanges the two
    answers of random rows (Riezler and Maxwell 2005, who show that the bootstrap alone finds differences too often).

    Args:
        first: Statistics of the first system, shape (rows, k).
        second: Those of the second one, same rows in the same order.
        score: From a sum of them to the score.
        rounds: Of each resampling.
        alpha: Level from which a difference counts.
        seed: Of both resamplings.

    Raises:
        ValueError: Different shapes, or no rows.
    """
    one, two = np.asarray(first, float), np.asarray(second, float)
    if one.shape != two.shape or one.ndim != 2 or not len(one):
        raise ValueError(f"statistics of the same rows are needed, not {one.shape} and {two.shape}")
    scores = score(one.sum(0)), score(two.sum(0))
    observed = scores[1] - scores[0]
    width = one.shape[1]
    differences = [
        score(total[width:]) - score(total[:width]) for total in _resampled(np.hstack([one, two]), rounds, seed)
    ]
    gaps = two - one
    extreme = 0
    generator = np.random.default_rng(seed)
    for tried in _portions(rounds, len(one)):
        moved = generator.integers(0, 2, (tried, len(one)), dtype=np.int8) @ gaps
        for shift in moved:
            exchanged = score(two.sum(0) - shift) - score(one.sum(0) + shift)
            extreme += abs(exchanged) >= abs(observed) - 1e-12
    interval = _percentiles(differences, 1 - alpha)
    spread = float(np.std(differences))
    needed = rows_to_tell(observed, spread * math.sqrt(len(one)), alpha=alpha)
    return Comparison(len(one), *scores, interval, (1 + extreme) / (1 + rounds), alpha, needed)


def compare_rates(first: Sequence[bool], second: Sequence[bool], *, alpha: float = 0.05, seed: int = 0) -> Comparison:
    """Compare how often two systems are right: McNemar's exact test, with a paired bootstrap for the interval.

    Raises:
        ValueError: Different numbers of rows, or none.
    """
    differences = _pairs(first, second)
    if not len(differences):
        raise ValueError("no rows to compare")
    rates = float(np.mean(first)), float(np.mean(second))
    interval = bootstrap(
        differences[:, None], lambda total: float(total[0]) / len(differences), confidence=1 - alpha, seed=seed
    )
    p_value = mcnemar(int((differences < 0).sum()), int((differences > 0).sum()))
    needed = rows_to_tell(rates[1] - rates[0], float(differences.std()), alpha=alpha)
    return Comparison(len(differences), *rates, interval, p_value, alpha, needed)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for having looked at several metrics (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def rows_to_tell(difference: float, deviation: float, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Rows that show a mean difference with this probability.

    Args:
        difference: The mean difference of two systems.
        deviation: Standard deviation of the difference on one row.
        alpha: Level of the two-sided test.
        power: Probability of finding it.

    Returns:
        The number of rows; None for a difference of zero, which no number of rows shows.
    """
    if not difference:
        return None
    return max(1, math.ceil((_z(alpha, power) * deviation / difference) ** 2))


def smallest_gap(rows: int, differing: float = 0.2, *, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest gap between two rates that so many rows show.

    Args:
        rows: Rows that both systems answer.
        differing: Share of the rows that only one of them has right.
        alpha: Level of the two-sided test.
        power: Probability of finding it.

    Returns:
        The gap; None where even the largest possible one, ``differing``, would not be found.
    """
    # The variance of one row's difference is differing - gap²: solve gap = z · sqrt((differing - gap²) / rows).
    z = _z(alpha, power)
    gap = z * math.sqrt(differing / (rows + z * z))
    return gap if gap < differing else None


def _z(alpha: float, power: float) -> float:
    normal = NormalDist()
    return normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)


def _pairs(first: Sequence[float], second: Sequence[float]) -> np.ndarray:
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} scores are no pairs")
    return np.asarray(second, float) - np.asarray(first, float)


def _resampled(statistics: np.ndarray, rounds: int, seed: int) -> np.ndarray:
    """Sums over resampled rows, shape (rounds, k): how often each row was drawn, times its statistics."""
    generator = np.random.default_rng(seed)
    count = len(statistics)
    shares = np.full(count, 1 / count)
    return np.concatenate(
        [generator.multinomial(count, shares, tried) @ statistics for tried in _portions(rounds, count)]
    )


def _percentiles(values: Sequence[float], confidence: float) -> Interval:
    low, high = np.quantile(np.asarray(values), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _portions(rounds: int, rows: int) -> list[int]:
    """Rounds in portions that memory holds."""
    most = max(1, _TRIED_AT_ONCE // max(rows, 1))
    return [min(most, rounds - start) for start in range(0, rounds, most)]
