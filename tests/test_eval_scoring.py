"""Scores of a run: intervals that hold, baselines beside them, a word wherever one may not mean what it seems."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.metrics import named
from eval.scoring import Scores, answered, row_scores, score
from eval.statistics import wilson
from pipelines.errors import InputError
from pipelines.wording import sentence
from tests.doubles.eval_runs import degraded, finished_run, sentences, translation


def codes(scores: Scores) -> set[str]:
    return {note.code for note in scores.notes}


def test_a_corpus_score_has_an_interval_and_a_rate_has_wilsons(tmp_path: Path) -> None:
    benchmark = translation()
    found = score(finished_run(benchmark, degraded(sentences(24), 0.3), tmp_path / "run"), benchmark)
    chrf, bleu, wrong = found.metrics
    assert [metric.name for metric in found.metrics] == [named(name).name for name in benchmark.metrics]
    for metric in (chrf, bleu):
        assert 0 < metric.total.interval.low < metric.total.value < metric.total.interval.high < 100
    assert wrong.is_rate
    hits = round(wrong.total.value / 100 * wrong.total.rows)
    expected = wilson(hits, wrong.total.rows)
    assert (wrong.total.interval.low, wrong.total.interval.high) == pytest.approx(
        (100 * expected.low, 100 * expected.high)
    )
    assert chrf.signature == named("chrf").signature


def test_the_same_records_have_the_same_scores(tmp_path: Path) -> None:
    benchmark = translation()
    run = finished_run(benchmark, degraded(sentences(24), 0.3), tmp_path / "run")
    assert score(run, benchmark) == score(run, benchmark)


def test_each_kind_of_row_is_scored_by_itself(tmp_path: Path) -> None:
    benchmark = translation()
    texts = sentences(24)
    mixed = [text if place % 2 else "xqz" for place, text in enumerate(texts)]
    kinds = score(finished_run(benchmark, mixed, tmp_path / "run"), benchmark).metrics[0].kinds
    assert {kind: part.rows for kind, part in kinds.items()} == {"long": 12, "short": 12}
    assert kinds["short"].value == pytest.approx(100)
    assert kinds["long"].value < 10


def test_what_needs_no_model_stands_beside_the_score(tmp_path: Path) -> None:
    benchmark = translation()
    found = score(finished_run(benchmark, [row.request["text"] for row in benchmark.rows], tmp_path / "run"), benchmark)
    leading = found.metrics[0]
    assert set(leading.baselines) == {"empty", "copy"}
    assert leading.baselines["copy"] == leading.total.value
    assert "eval_score_not_above" in codes(found)
    said = next(sentence(note) for note in found.notes if note.code == "eval_score_not_above")
    assert "copying what was given" in said


def test_the_first_sentences_are_a_baseline_of_summaries(tmp_path: Path) -> None:
    benchmark = translation(6)
    rows = tuple(
        replace(row, request={"text": f"{row.references[0]} Two more. And three. And four."}) for row in benchmark.rows
    )
    benchmark = replace(benchmark, task="summarization", rows=rows, metrics=("rouge1",))
    found = score(finished_run(benchmark, sentences(6), tmp_path / "run"), benchmark).metrics[0]
    assert found.baselines["copy"] < found.baselines["lead"] < found.total.value == pytest.approx(100)


def test_the_same_score_on_every_row_is_doubted(tmp_path: Path) -> None:
    benchmark = translation()
    found = score(finished_run(benchmark, ["☃"] * 24, tmp_path / "run"), benchmark)
    assert "eval_score_identical" in codes(found)
    varied = score(finished_run(benchmark, degraded(sentences(24), 0.4), tmp_path / "varied"), benchmark)
    assert "eval_score_identical" not in codes(varied)  # no reply in the wrong language is what one hopes for


def test_failures_cuts_and_silence_are_counted(tmp_path: Path) -> None:
    benchmark = translation(4)
    cut = score(finished_run(benchmark, ["a", "b", "", " "], tmp_path / "cut", finish_reason="length"), benchmark)
    assert (cut.cut, cut.empty, cut.failed) == (4, 2, {})
    failed = score(finished_run(benchmark, [""] * 4, tmp_path / "failed", error="model_gone"), benchmark)
    assert (failed.empty, failed.failed) == (0, {"model_gone": 4})
    assert "eval_score_failed" in codes(failed)


def test_few_rows_say_that_they_show_no_gap_and_many_say_which(tmp_path: Path) -> None:
    few = score(finished_run(translation(24), sentences(24), tmp_path / "few"), translation(24))
    assert few.gap is None
    assert "eval_score_power_none" in codes(few)
    many = score(finished_run(translation(100), sentences(100), tmp_path / "many"), translation(100))
    assert many.gap == pytest.approx(12, abs=1)
    assert "eval_score_power" in codes(many)


def test_a_run_that_was_stopped_is_scored_as_a_part(tmp_path: Path) -> None:
    benchmark = translation(24)
    found = score(finished_run(benchmark, sentences(24)[:10], tmp_path / "run"), benchmark)
    assert found.rows == 10
    assert "eval_score_part" in codes(found)
    with pytest.raises(InputError, match="no row"):
        score(finished_run(benchmark, [], tmp_path / "none"), benchmark)


def test_a_limited_run_is_one_of_the_first_rows(tmp_path: Path) -> None:
    benchmark = translation(24)
    limited = replace(benchmark, rows=benchmark.rows[:5])
    found = score(finished_run(limited, sentences(5), tmp_path / "run"), benchmark)
    assert found.rows == 5
    assert "eval_score_part" in codes(found)


def test_records_of_other_rows_are_refused(tmp_path: Path) -> None:
    run = finished_run(translation(24), sentences(24), tmp_path / "run")
    changed = translation(24)
    changed = replace(changed, rows=(replace(changed.rows[0], references=("Another one.",)), *changed.rows[1:]))
    for other in (changed, translation(24, version=2), translation(24, metrics=("chrf",)), translation(23)):
        with pytest.raises(InputError, match="Run the benchmark again") as refused:
            answered((run,), other)
        assert refused.value.code == "eval_run_other_benchmark"


def test_a_metric_that_does_not_give_references_its_best_is_named(tmp_path: Path) -> None:
    benchmark = translation(4, metrics=("rouge1",))
    assert "metric_gold" not in codes(score(finished_run(benchmark, ["a"] * 4, tmp_path / "run"), benchmark))
    wordless = replace(benchmark, rows=tuple(replace(row, references=("!!!",)) for row in benchmark.rows))
    assert "metric_gold" in codes(score(finished_run(wordless, ["!!!"] * 4, tmp_path / "wordless"), wordless))


def test_what_is_no_number_is_none_in_json(tmp_path: Path) -> None:
    benchmark = translation(4)
    found = score(finished_run(benchmark, sentences(4), tmp_path / "run"), benchmark)
    broken = replace(found, metrics=(replace(found.metrics[0], baselines={"empty": math.nan}),))
    data = json.loads(json.dumps(broken.to_json(), allow_nan=False))
    assert data["metrics"][0]["baselines"] == {"empty": None}


def test_a_row_that_a_metric_says_nothing_of_has_no_score() -> None:
    metric = named("wrong_language")
    alone = row_scores(metric, np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]))
    assert alone[:2].tolist() == [100, 0]
    assert math.isnan(alone[2])


def test_rows_without_what_a_metric_looks_at_are_not_counted(tmp_path: Path) -> None:
    benchmark = translation(12, metrics=("distinct_2",))
    found = score(finished_run(benchmark, [*sentences(6), *[""] * 6], tmp_path / "run"), benchmark).metrics[0]
    assert found.total.rows == 6
    assert found.total.interval.low <= found.total.value <= found.total.interval.high
    assert math.isnan(found.baselines["empty"])


def test_rows_that_are_too_few_or_all_alike_give_no_interval(tmp_path: Path) -> None:
    few = translation(4, metrics=("chrf",))
    benchmark = translation(24, metrics=("chrf",))
    for number, (asked, replies) in enumerate([(few, degraded(sentences(4), 0.3)), (benchmark, ["☃"] * 24)]):
        found = score(finished_run(asked, replies, tmp_path / str(number)), asked).metrics[0]
        assert math.isnan(found.total.interval.low)
        assert math.isnan(found.total.interval.high)


def test_rows_that_are_each_of_a_kind_are_not_scored_one_by_one(tmp_path: Path) -> None:
    benchmark = translation(6, metrics=("chrf",))
    benchmark = replace(benchmark, rows=tuple(replace(row, kind=row.id) for row in benchmark.rows))
    assert score(finished_run(benchmark, sentences(6), tmp_path / "run"), benchmark).metrics[0].kinds == {}
