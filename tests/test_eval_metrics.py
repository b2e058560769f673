"""Metrics of texts: the scores of the libraries behind them, for every script, with every row looked at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics import METRICS, for_task, lead, named
from eval.metrics.translation import bleu_tokenizer
from eval.metrics.words import words
from eval.statistics import compare
from pipelines.errors import InputError
from pipelines.tasks import TASKS

REFERENCES = [
    "The station is behind the old church.",
    "Ring twice, then wait for the caretaker.",
    "It rained all week.",
]
REPLIES = ["The station lies behind an old church.", "Ring two times and wait for the keeper.", "It rained all week."]
BY_REFERENCE = ["chrf", "bleu", "ter", "rouge1", "rouge2", "rougeLsum"]
CHINESE = ["图书馆周三关门，请在门口还书。", "火车晚点二十分钟。"]


def rows(references: list[str], language: str = "en") -> list[BenchmarkRow]:
    return [BenchmarkRow(str(n), {"text": "?"}, (text,), language) for n, text in enumerate(references)]


def score(name: str, replies: list[str], references: list[str], language: str = "en") -> float:
    return named(name).score(replies, rows(references, language))


def test_scores_are_those_of_sacrebleu() -> None:
    import sacrebleu

    assert score("chrf", REPLIES, REFERENCES) == sacrebleu.corpus_chrf(REPLIES, [REFERENCES], word_order=2).score
    assert score("bleu", REPLIES, REFERENCES) == sacrebleu.corpus_bleu(REPLIES, [REFERENCES]).score
    assert score("ter", REPLIES, REFERENCES) == pytest.approx(sacrebleu.corpus_ter(REPLIES, [REFERENCES]).score)
    chinese = sacrebleu.corpus_bleu(CHINESE[::-1], [CHINESE], tokenize="zh").score
    assert score("bleu", CHINESE[::-1], CHINESE, "zh-Hans") == chinese


def test_scores_are_those_of_rouge_score_where_it_knows_the_letters() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rouge2"])
    expected = np.mean([theirs.score(a, b)["rouge2"].fmeasure for a, b in zip(REFERENCES, REPLIES, strict=True)])
    assert score("rouge2", REPLIES, REFERENCES) == pytest.approx(100 * expected)


@pytest.mark.parametrize("name", BY_REFERENCE)
@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("en", REFERENCES),
        ("zh-Hans", CHINESE),
        ("fr", ["Le café est fermé jusqu'à midi.", "L'été fut sec."]),
        ("ru", ["Поезд опаздывает на двадцать минут.", "Окно открыто."]),
        ("ja", ["図書館は水曜日に休みです。", "雨が降っています。"]),
        ("ko", ["도서관은 수요일에 쉽니다.", "비가 옵니다."]),
        ("th", ["ห้องสมุดปิดวันพุธ", "ฝนตกทั้งสัปดาห์"]),
        ("hi", ["पुस्तकालय बुधवार को बंद रहता है।", "पूरे सप्ताह बारिश हुई।"]),
        ("ar", ["المكتبة مغلقة يوم الأربعاء.", "أمطرت طوال الأسبوع."]),
    ],
)
def test_gold_answers_score_the_best_and_empty_ones_the_worst(name: str, language: str, texts: list[str]) -> None:
    metric, asked = named(name), rows(texts, language)
    if name != "bleu" or all(len(text.split()) > 3 for text in texts):  # four words in a row are needed
        assert metric.score(texts, asked) == pytest.approx(metric.best)
    assert metric.score([""] * len(texts), asked) == pytest.approx(metric.worst)


def test_several_references_each_row_its_own_number() -> None:
    asked = [BenchmarkRow("1", {}, (REFERENCES[0], REPLIES[0])), BenchmarkRow("2", {}, (REFERENCES[2],))]
    for name in BY_REFERENCE:
        metric = named(name)
        assert metric.score([REPLIES[0], REFERENCES[2]], asked) == pytest.approx(metric.best), name


def test_rows_of_several_languages_are_each_cut_as_they_need() -> None:
    asked = [*rows(REFERENCES), *rows(CHINESE, "zh")]
    assert named("bleu").score([*REFERENCES, *CHINESE], asked) == pytest.approx(100)
    parts = [named("bleu").statistics(texts, rows(texts, tag)) for texts, tag in ((REFERENCES, "en"), (CHINESE, "zh"))]
    assert np.allclose(named("bleu").statistics([*REFERENCES, *CHINESE], asked), np.vstack(parts))


@pytest.mark.parametrize("task", TASKS)
def test_a_task_names_metrics_that_exist_and_leads_with_one_that_has_a_direction(task: str) -> None:
    found = [named(name) for name in for_task(task)]
    assert found[0].higher_is_better
    assert [metric.key for metric in found] == list(TASKS[task].metrics)
    assert "empty" in for_task(task)


def test_every_metric_is_of_a_task_and_signed() -> None:
    # Benchmarks whose rows have tests name pass_at_1 themselves.
    assert {name for task in TASKS for name in for_task(task)} | {"pass_at_1"} == set(METRICS)
    found = [named(name) for name in METRICS]
    assert [metric.key for metric in found] == list(METRICS)
    assert len({metric.name for metric in found}) == len({metric.signature for metric in found}) == len(found)
    with pytest.raises(InputError) as caught:
        named("rouge3")
    assert (caught.value.code, "rouge2" in caught.value.parameters["nearest"]) == ("metric_unknown", True)


@pytest.mark.parametrize(
    ("language", "tokenizer"), [("fr", "13a"), ("zh-Hant", "zh"), ("yue", "zh"), ("ja", "char"), ("pt-BR", "13a")]
)
def test_bleu_cuts_words_as_the_language_needs(language: str, tokenizer: str) -> None:
    assert bleu_tokenizer(language) == tokenizer


def test_words_of_mixed_scripts() -> None:
    assert words("Le café d'Anna") == ["le", "café", "d", "anna"]
    assert words("用Python写3行代码") == ["用", "python", "写", "3", "行", "代", "码"]
    assert words("cafe\u0301_bar") == ["cafe\u0301", "bar"]
    assert words("हिन्दी में") == ["हिन्दी", "में"]


@given(st.text(max_size=80))
def test_no_letter_and_no_digit_is_lost(text: str) -> None:
    kept = "".join(words(text))
    assert [letter for letter in kept if letter.isalnum()] == [letter for letter in text.lower() if letter.isalnum()]


@pytest.mark.parametrize("name", BY_REFERENCE)
def test_rows_add_up_to_the_corpus(name: str) -> None:
    metric, asked = named(name), rows(REFERENCES)
    found = metric.statistics(REPLIES, asked)
    alone = [metric.statistics([reply], [row])[0] for reply, row in zip(REPLIES, asked, strict=True)]
    assert np.allclose(found, alone)
    assert metric.of_sum(found.sum(axis=0)) == metric.score(REPLIES, asked)
    same = compare(found, found, metric.of_sum, rounds=50)
    assert (same.difference, same.verdict) == (0.0, "cannot_tell")


def test_two_sentences_on_one_line_are_two_sentences() -> None:
    assert score("rougeLsum", ["It rained. It poured."], ["It rained.\nIt poured."]) == pytest.approx(100)
    assert score("rougeLsum", ["- rain\n- wind"], ["- wind\n- rain"]) == pytest.approx(100)


@pytest.mark.parametrize(
    ("replies", "references", "code"),
    [
        ([], [], "metric_rows"),
        (["a"], ["a", "b"], "metric_rows"),
        ("ab", ["a", "b"], "metric_rows"),
        (["a", None], ["a", "b"], "metric_row"),
        (["a", "b"], ["a", ["b"]], "metric_row"),
        (["a", "b"], ["a", " \n"], "metric_reference_empty"),
    ],
)
@pytest.mark.parametrize("name", ["chrf", "empty"])
def test_every_row_is_looked_at(replies: list[str], references: list[str], code: str, name: str) -> None:
    with pytest.raises(InputError) as caught:
        score(name, replies, references)
    assert caught.value.code == code


@pytest.mark.parametrize(("references", "code"), [((), "metric_reference_missing"), ("ab", "metric_row")])
def test_a_row_has_a_tuple_of_references(references: tuple[str, ...], code: str) -> None:
    with pytest.raises(InputError) as caught:
        named("chrf").score(["a"], [BenchmarkRow("1", {}, references)])
    assert caught.value.code == code
    assert named("empty").score(["a"], [BenchmarkRow("1", {})]) == 0


def test_the_beginning_of_a_text() -> None:
    text = "The bridge reopens on Monday. Cars pay two euros. Bicycles pay nothing. The ferry stops."
    assert lead(text, 2) == "The bridge reopens on Monday. Cars pay two euros."
    assert lead("桥五月重新开放。汽车收费。自行车免费。", 1, "zh") == "桥五月重新开放。"
    assert lead("One.", 3) == "One."
    assert lead("") == ""
