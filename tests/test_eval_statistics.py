"""Intervals hold as often as they say, paired tests find what is there and nothing else."""

import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.statistics import (
    bootstrap,
    compare,
    compare_rates,
    holm,
    mcnemar,
    rows_to_tell,
    sign_flip,
    smallest_gap,
    wilson,
)

scores = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=9)


def mean_of(rows: int):
    return lambda total: float(total[0]) / rows


def test_a_rate_of_none_and_of_all_is_no_certainty() -> None:
    assert (wilson(0, 24).low, round(wilson(0, 24).high, 3)) == (0.0, 0.138)
    assert wilson(24, 24).high == 1.0
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


@pytest.mark.parametrize(("rate", "trials"), [(0.9, 10), (0.97, 20), (0.5, 50), (0.97, 100)])
def test_wilson_covers_the_true_rate_as_often_as_it_says(rate: float, trials: int) -> None:
    def chance(count: int) -> float:
        return math.comb(trials, count) * rate**count * (1 - rate) ** (trials - count)

    covered = [k for k in range(trials + 1) if wilson(k, trials).low <= rate <= wilson(k, trials).high]
    assert sum(map(chance, covered)) > 0.91


@given(scores)
def test_the_permutation_test_is_the_share_of_all_assignments(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    gaps = [two - one for one, two in pairs]
    totals = [
        abs(sum(sign * gap for sign, gap in zip(signs, gaps, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(gaps))
    ]
    share = sum(total >= abs(sum(gaps)) for total in totals) / len(totals)
    assert sign_flip(first, second) == pytest.approx(share)
    assert sign_flip(second, first) == pytest.approx(share)


def test_many_rows_are_permuted_at_random_and_alike_each_time() -> None:
    draw = random.Random(1)
    first = [draw.gauss(0, 1) for _ in range(200)]
    second = [value + draw.gauss(0.3, 1) for value in first]
    assert sign_flip(first, second) < 0.01
    assert sign_flip(first, second) == sign_flip(first, second)
    assert sign_flip(first, first) == 1.0
    with pytest.raises(ValueError, match="200 and 199"):
        sign_flip(first, second[1:])


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_a_binomial_test_of_the_rows_that_differ(one: int, two: int) -> None:
    differing, fewer = one + two, min(one, two)
    expected = min(1.0, 2 * sum(math.comb(differing, k) / 2**differing for k in range(fewer + 1)))
    assert mcnemar(one, two) == pytest.approx(expected)


def simulated(rows: int, first: float, second: float, rounds: int) -> dict[str, float]:
    """How often a paired and an unpaired test find a difference, on rows that are hard or easy for both."""
    generator = np.random.default_rng(0)
    found = {"paired": 0, "unpaired": 0}
    for _ in range(rounds):
        hardness = generator.random(rows)
        noise = generator.normal(0, 0.1, (2, rows))
        one, two = hardness + noise[0] < first, hardness + noise[1] < second
        found["paired"] += mcnemar(int((one & ~two).sum()), int((two & ~one).sum())) < 0.05
        pooled = (one.mean() + two.mean()) / 2
        error = math.sqrt(2 * pooled * (1 - pooled) / rows)
        found["unpaired"] += abs(one.mean() - two.mean()) > 1.96 * error
    return {name: count / rounds for name, count in found.items()}


def test_pairs_find_twice_as_much_as_two_separate_scores_and_invent_nothing() -> None:
    real = simulated(100, 0.6, 0.7, 500)
    assert real["paired"] > 1.8 * real["unpaired"]
    assert real["paired"] > 0.5
    assert simulated(100, 0.65, 0.65, 500)["paired"] < 0.05


def test_the_bootstrap_covers_the_true_mean() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for seed in range(200):
        values = generator.exponential(1.0, (60, 1))
        interval = bootstrap(values, mean_of(60), rounds=300, seed=seed)
        covered += interval.low <= 1.0 <= interval.high
    assert 0.88 < covered / 200 < 0.99


def ratio(total: np.ndarray) -> float:
    """A corpus metric that is no mean over rows: hits of all rows over words of all rows."""
    return float(total[0] / total[1])


def corpus(hits: float, rows: int, seed: int, words: Sequence[int]) -> np.ndarray:
    draw = random.Random(seed)
    return np.array([[sum(draw.random() < hits for _ in range(words[row])), words[row]] for row in range(rows)])


def test_a_corpus_metric_that_rose_is_found_with_its_interval() -> None:
    words = [random.Random(9).randint(5, 30) for _ in range(150)]
    found = compare(corpus(0.50, 150, 1, words), corpus(0.58, 150, 2, words), ratio)
    assert found.verdict == "higher"
    assert found.p_value < 0.01
    assert found.interval.low < found.difference < found.interval.high
    assert found.difference == pytest.approx(0.08, abs=0.03)
    turned = compare(corpus(0.58, 150, 2, words), corpus(0.50, 150, 1, words), ratio)
    assert (turned.verdict, turned.difference) == ("lower", pytest.approx(-found.difference))


def test_where_nothing_changed_the_answer_is_that_one_cannot_tell() -> None:
    words = [10] * 100
    wrong = 0
    for seed in range(60):
        found = compare(corpus(0.5, 100, 2 * seed, words), corpus(0.5, 100, 2 * seed + 1, words), ratio, rounds=200)
        wrong += found.verdict != "cannot_tell"
    assert wrong <= 7  # of 60, at a level of 0.05
    same = compare(corpus(0.5, 100, 1, words), corpus(0.5, 100, 1, words), ratio, rounds=200)
    assert (same.verdict, same.p_value, same.rows_needed) == ("cannot_tell", 1.0, None)


def test_the_rows_that_would_be_needed_do_tell() -> None:
    words = [10] * 60
    found = compare(corpus(0.50, 60, 5, words), corpus(0.53, 60, 6, words), ratio)
    assert found.rows_needed is not None
    assert found.rows_needed > 60
    rows = rows_to_tell(0.1, 0.5)
    assert rows == 197
    generator = np.random.default_rng(0)
    power = np.mean([sign_flip([0.0] * rows, generator.normal(0.1, 0.5, rows), rounds=300) < 0.05 for _ in range(200)])
    assert 0.7 < power < 0.9


def test_rates_are_compared_by_the_rows_that_flipped() -> None:
    first = [False] * 40 + [True] * 60
    second = [True] * 15 + [False] * 25 + [True] * 57 + [False] * 3
    found = compare_rates(first, second)
    assert (found.first, found.second) == (0.6, 0.72)
    assert found.p_value == mcnemar(3, 15)
    assert found.verdict == "higher"
    with pytest.raises(ValueError, match="no rows"):
        compare_rates([], [])


def test_several_metrics_make_each_finding_weaker() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("rows", "points"), [(50, 16), (100, 12), (200, 8.7), (500, 5.6), (1000, 3.9)])
def test_the_smallest_gap_that_so_many_rows_show(rows: int, points: float) -> None:
    gap = smallest_gap(rows)
    assert gap is not None
    assert 100 * gap == pytest.approx(points, abs=0.6)


def test_too_few_rows_show_no_gap_at_all() -> None:
    assert smallest_gap(24) is None


@pytest.mark.parametrize("shapes", [((3, 2), (4, 2)), ((0, 2), (0, 2)), ((3,), (3,))])
def test_statistics_of_other_rows_are_no_comparison(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="same rows"):
        compare(np.zeros(shapes[0]), np.zeros(shapes[1]), ratio)
