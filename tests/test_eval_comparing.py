"""Comparisons of runs: a better system is found, an equal one is not, and rows are set beside each other."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.comparing import compare, word_diff
from eval.metrics import named
from pipelines.errors import InputError
from pipelines.wording import sentence
from tests.doubles.eval_runs import degraded, finished_run, sentences, translation


def test_a_planted_better_system_is_found_and_the_other_way_round_is_worse(tmp_path: Path) -> None:
    benchmark = translation(40)
    texts = sentences(40)
    bad = finished_run(benchmark, degraded(texts, 0.4), tmp_path / "bad")
    good = finished_run(benchmark, degraded(texts, 0.2), tmp_path / "good")
    (found,) = compare([bad, good], benchmark)
    chrf, bleu, wrong = found.metrics
    assert (chrf.verdict, bleu.verdict, wrong.verdict) == ("better", "better", "cannot_tell")
    assert sentence(chrf.note).startswith("Better: on 40 rows chrF++ went from ")
    assert found.better > found.worse
    (turned,) = compare([good, bad], benchmark)
    assert turned.metrics[0].verdict == "worse"
    assert (turned.better, turned.worse) == (found.worse, found.better)


def test_equally_good_systems_cannot_be_told_apart(tmp_path: Path) -> None:
    benchmark = translation(40)
    texts = sentences(40)
    one = finished_run(benchmark, degraded(texts, 0.3, seed=1), tmp_path / "one")
    two = finished_run(benchmark, degraded(texts, 0.3, seed=2), tmp_path / "two")
    (found,) = compare([one, two], benchmark)
    assert {metric.verdict for metric in found.metrics} == {"cannot_tell"}
    assert sentence(found.metrics[0].note).startswith("Cannot tell: ")
    assert "rows would show a difference of this size" in sentence(found.metrics[0].note)


def test_a_run_against_itself_has_no_row_that_changed(tmp_path: Path) -> None:
    benchmark = translation(8)
    run = finished_run(benchmark, degraded(sentences(8), 0.3), tmp_path / "run")
    (found,) = compare([run, run], benchmark)
    assert found.changes == ()
    assert all(metric.comparison.difference == 0 and metric.verdict == "cannot_tell" for metric in found.metrics)
    assert "interval of the difference – to –, p = 1 after" in sentence(found.metrics[0].note)


def test_for_a_metric_that_should_be_low_lower_is_better(tmp_path: Path) -> None:
    benchmark = translation(40, metrics=("ter",))
    texts = sentences(40)
    bad = finished_run(benchmark, degraded(texts, 0.4), tmp_path / "bad")
    (found,) = compare([bad, finished_run(benchmark, texts, tmp_path / "good")], benchmark)
    assert found.metrics[0].comparison.difference < 0
    assert found.metrics[0].verdict == "better"
    assert found.worse == 0 < found.better


def test_rates_are_compared_on_their_own_scale_and_their_flips_are_listed(tmp_path: Path) -> None:
    benchmark = translation(30, metrics=("empty",))
    silent = finished_run(benchmark, ["" if place < 12 else "A reply." for place in range(30)], tmp_path / "silent")
    talking = finished_run(benchmark, ["A reply."] * 30, tmp_path / "talking")
    (found,) = compare([silent, talking], benchmark)
    (metric,) = found.metrics
    assert named("empty").is_rate
    assert (metric.comparison.first, metric.comparison.second) == (40, 0)
    assert metric.comparison.interval.low < -40 < metric.comparison.interval.high < 0
    assert metric.verdict == "better"
    assert [row.row_id for row in found.changes] == sorted(f"row-{number}" for number in range(12))


def test_rows_that_changed_most_come_first(tmp_path: Path) -> None:
    benchmark = translation(10)
    texts = sentences(10)
    changed = [*texts[:7], f"{texts[7]} xqz", "xqz", texts[9]]
    (found,) = compare(
        [finished_run(benchmark, texts, tmp_path / "one"), finished_run(benchmark, changed, tmp_path / "two")],
        benchmark,
    )
    assert [row.row_id for row in found.changes] == ["row-8", "row-7"]
    assert found.changes[0].change < found.changes[1].change < 0
    assert (found.changes[0].first_reply, found.changes[0].second_reply) == (texts[8], "xqz")


def test_each_further_run_is_compared_with_the_first_and_raises_the_bar(tmp_path: Path) -> None:
    benchmark = translation(40, metrics=("chrf",))
    texts = sentences(40)
    runs = [
        finished_run(benchmark, degraded(texts, share, seed=3), tmp_path / f"run-{share}") for share in (0.4, 0.3, 0.1)
    ]
    found = compare(runs, benchmark)
    assert [(each.first, each.second) for each in found] == [(runs[0], runs[1]), (runs[0], runs[2])]
    (alone,) = compare(runs[:2], benchmark)
    assert found[0].metrics[0].adjusted_p_value >= alone.metrics[0].adjusted_p_value


def test_only_rows_that_all_have_answered_are_compared(tmp_path: Path) -> None:
    benchmark = translation(12)
    whole = finished_run(benchmark, sentences(12), tmp_path / "whole")
    part = finished_run(benchmark, ["xqz"] * 5, tmp_path / "part")
    (found,) = compare([whole, part], benchmark)
    assert found.metrics[0].comparison.rows == 5
    assert len(found.changes) == 5


def test_different_benchmarks_are_one_sentence(tmp_path: Path) -> None:
    first = finished_run(translation(8), sentences(8), tmp_path / "first")
    second = finished_run(translation(8, version=2), sentences(8), tmp_path / "second")
    with pytest.raises(InputError, match="cannot be compared") as refused:
        compare([first, second], translation(8))
    assert "planted@1" in str(refused.value)
    assert "planted@2" in str(refused.value)
    with pytest.raises(InputError, match="two runs"):
        compare([first], translation(8))


def test_json_without_texts_holds_nothing_that_a_model_said(tmp_path: Path) -> None:
    benchmark = translation(4)
    one = finished_run(benchmark, ["secret one"] * 4, tmp_path / "one")
    two = finished_run(benchmark, sentences(4), tmp_path / "two")
    (found,) = compare([one, two], benchmark)
    assert "secret one" in json.dumps(found.to_json(), allow_nan=False)
    assert "secret one" not in json.dumps(found.to_json(texts=False), allow_nan=False)


@given(st.text(max_size=60), st.text(max_size=60))
def test_the_pieces_of_a_diff_are_the_texts(first: str, second: str) -> None:
    left, right = word_diff(first, second)
    assert "".join(piece.text for piece in left) == first
    assert "".join(piece.text for piece in right) == second
    kept = [[piece.text for piece in pieces if not piece.changed] for pieces in (left, right)]
    assert "".join(kept[0]) == "".join(kept[1])


def test_a_diff_marks_words_and_chinese_characters() -> None:
    left, right = word_diff("the old river", "the new river")
    assert [(piece.text, piece.changed) for piece in right] == [("the ", False), ("new", True), (" river", False)]
    assert [piece.text for piece in left if piece.changed] == ["old"]
    assert [piece.text for piece in word_diff("今天天气好", "今天天气坏")[1] if piece.changed] == ["坏"]


def test_very_long_replies_are_not_compared_word_by_word() -> None:
    left, right = word_diff("a " * 5000, "b")
    assert [len(left), len(right)] == [1, 1]
    assert not left[0].changed


def test_a_metric_that_only_describes_has_no_better(tmp_path: Path) -> None:
    benchmark = translation(20, metrics=("compression",))
    rows = tuple(replace(row, request={"text": "word " * 30}) for row in benchmark.rows)
    benchmark = replace(benchmark, task="summarization", rows=rows)
    long = finished_run(benchmark, sentences(20), tmp_path / "long")
    short = finished_run(benchmark, ["A reply."] * 20, tmp_path / "short")
    (found,) = compare([long, short], benchmark)
    assert named("compression").higher_is_better is None
    assert found.metrics[0].verdict in ("higher", "lower")
    assert "neither is better" in sentence(found.metrics[0].note)


def test_rows_that_a_metric_says_nothing_of_are_left_out(tmp_path: Path) -> None:
    benchmark = translation(12, metrics=("distinct_2",))
    texts = sentences(12)
    whole = finished_run(benchmark, texts, tmp_path / "whole")
    silent = finished_run(benchmark, [*texts[:5], *[""] * 7], tmp_path / "silent")
    (found,) = compare([whole, silent], benchmark)
    assert found.metrics[0].comparison.rows == 5
    nothing = finished_run(benchmark, [""] * 12, tmp_path / "nothing")
    (found,) = compare([whole, nothing], benchmark)
    assert (found.metrics[0].comparison.rows, found.metrics[0].comparison.p_value) == (0, 1)
    assert "something to say of both" in sentence(found.metrics[0].note)
    json.dumps(found.to_json(), allow_nan=False)


def test_that_no_row_differs_is_no_certainty(tmp_path: Path) -> None:
    benchmark = translation(24, metrics=("empty",))
    runs = [finished_run(benchmark, [f"{name} reply."] * 24, tmp_path / name) for name in ("one", "two")]
    (found,) = compare(runs, benchmark)
    assert found.metrics[0].comparison.interval.high == pytest.approx(13.8, abs=0.1)
    assert found.metrics[0].comparison.interval.low == -found.metrics[0].comparison.interval.high
    assert math.isnan(found.metrics[0].gap)  # 24 rows show no gap between systems that differ on a fifth of them


def test_the_gap_that_would_be_found_grows_with_the_number_of_tests_and_shrinks_with_rows(tmp_path: Path) -> None:
    gaps = {}
    for rows, metrics in ((20, ("chrf", "empty")), (80, ("chrf", "empty")), (80, ("chrf", "empty", "bleu", "ter"))):
        benchmark = translation(rows, metrics=metrics)
        texts = sentences(rows)
        half = [text if place % 2 else "" for place, text in enumerate(degraded(texts, 0.3))]
        folder = tmp_path / f"{rows}-{len(metrics)}"
        one, two = (finished_run(benchmark, replies, folder / name) for name, replies in (("1", texts), ("2", half)))
        (found,) = compare([one, two], benchmark)
        gaps[rows, len(metrics)] = [metric.gap for metric in found.metrics[:2]]
    for place in (0, 1):
        assert gaps[20, 2][place] > gaps[80, 4][place] > gaps[80, 2][place] > 0
