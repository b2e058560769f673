"""Metrics of texts: the scores of the libraries behind them, for every script, with every row looked at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics import Metric, bleu, chrf, for_task, lead, rouge, ter
from eval.metrics.summarization import UnicodeTokenizer
from eval.metrics.translation import bleu_tokenizer
from eval.statistics import compare
from pipelines.errors import InputError
from pipelines.tasks import TASKS

REFERENCES = [
    "The station is behind the old church.",
    "Ring twice, then wait for the caretaker.",
    "It rained all week.",
]
REPLIES = ["The station lies behind an old church.", "Ring two times and wait for the keeper.", "It rained all week."]
CHINESE = ["图书馆周三关门，请在门口还书。", "火车晚点二十分钟。"]


def test_scores_are_those_of_sacrebleu() -> None:
    import sacrebleu

    assert chrf().score(REPLIES, REFERENCES) == sacrebleu.corpus_chrf(REPLIES, [REFERENCES], word_order=2).score
    assert bleu("en").score(REPLIES, REFERENCES) == sacrebleu.corpus_bleu(REPLIES, [REFERENCES]).score
    assert ter("en").score(REPLIES, REFERENCES) == pytest.approx(sacrebleu.corpus_ter(REPLIES, [REFERENCES]).score)
    chinese = sacrebleu.corpus_bleu(CHINESE[::-1], [CHINESE], tokenize="zh").score
    assert bleu("zh-Hans").score(CHINESE[::-1], CHINESE) == chinese


def test_scores_are_those_of_rouge_score_where_it_knows_the_letters() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rouge2"])
    expected = np.mean([theirs.score(a, b)["rouge2"].fmeasure for a, b in zip(REFERENCES, REPLIES, strict=True)])
    assert rouge("rouge2").score(REPLIES, REFERENCES) == pytest.approx(100 * expected)


@pytest.mark.parametrize("task", ["translation", "summarization"])
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
def test_gold_answers_score_the_best_and_empty_ones_the_worst(task: str, language: str, texts: list[str]) -> None:
    for metric in for_task(task, language):
        best, worst = (100.0, 0.0) if metric.higher_is_better else (0.0, 100.0)
        if metric.name != "BLEU" or all(len(text.split()) > 3 for text in texts):  # four words in a row are needed
            assert metric.score(texts, texts) == pytest.approx(best), metric.name
        assert metric.score([""] * len(texts), texts) == pytest.approx(worst), metric.name


def test_the_first_metric_of_a_task_is_its_leading_one() -> None:
    assert [metric.name for metric in for_task("translation", "fr")] == ["chrF++", "BLEU", "TER"]
    assert [metric.name for metric in for_task("summarization")] == ["ROUGE-1", "ROUGE-2", "ROUGE-Lsum"]
    assert [task for task in TASKS if for_task(task)] == ["translation", "summarization"]
    for metric in (*for_task("translation", "zh"), *for_task("summarization")):
        assert metric.signature.startswith(metric.name)
    assert "tok:zh" in bleu("zh").signature


@pytest.mark.parametrize(
    ("language", "tokenizer"), [("fr", "13a"), ("zh-Hant", "zh"), ("yue", "zh"), ("ja", "char"), ("pt-BR", "13a")]
)
def test_bleu_cuts_words_as_the_language_needs(language: str, tokenizer: str) -> None:
    assert bleu_tokenizer(language) == tokenizer


def test_words_of_mixed_scripts() -> None:
    tokenize = UnicodeTokenizer().tokenize
    assert tokenize("Le café d'Anna") == ["le", "café", "d", "anna"]
    assert tokenize("用Python写3行代码") == ["用", "python", "写", "3", "行", "代", "码"]
    assert tokenize("cafe\u0301_bar") == ["cafe\u0301", "bar"]
    assert tokenize("हिन्दी में") == ["हिन्दी", "में"]


@given(st.text(max_size=80))
def test_no_letter_and_no_digit_is_lost(text: str) -> None:
    kept = "".join(UnicodeTokenizer().tokenize(text))
    assert [letter for letter in kept if letter.isalnum()] == [letter for letter in text.lower() if letter.isalnum()]


@pytest.mark.parametrize("metric", [chrf(), bleu("en"), ter("en"), rouge("rouge1"), rouge("rougeLsum")])
def test_rows_add_up_to_the_corpus(metric: Metric) -> None:
    rows = metric.statistics(REPLIES, REFERENCES)
    alone = [metric.statistics([reply], [gold])[0] for reply, gold in zip(REPLIES, REFERENCES, strict=True)]
    assert np.allclose(rows, alone)
    assert metric.of_sum(rows.sum(axis=0)) == metric.score(REPLIES, REFERENCES)
    same = compare(rows, rows, metric.of_sum, rounds=50)
    assert (same.difference, same.verdict) == (0.0, "cannot_tell")


def test_two_sentences_on_one_line_are_two_sentences() -> None:
    assert rouge("rougeLsum").score(["It rained. It poured."], ["It rained.\nIt poured."]) == pytest.approx(100)
    assert rouge("rougeLsum").score(["- rain\n- wind"], ["- wind\n- rain"]) == pytest.approx(100)


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
def test_every_row_is_looked_at(replies: list[str], references: list[str], code: str) -> None:
    with pytest.raises(InputError) as caught:
        chrf().score(replies, references)
    assert caught.value.code == code


def test_the_beginning_of_a_text() -> None:
    text = "The bridge reopens on Monday. Cars pay two euros. Bicycles pay nothing. The ferry stops."
    assert lead(text, 2) == "The bridge reopens on Monday. Cars pay two euros."
    assert lead("桥五月重新开放。汽车收费。自行车免费。", 1, "zh") == "桥五月重新开放。"
    assert lead("One.", 3) == "One."
    assert lead("") == ""
