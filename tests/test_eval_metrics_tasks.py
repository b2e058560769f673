"""Metrics of the five tasks beyond comparison with a reference: what each finds and lets pass, where it is silent."""

import math
import random
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics import METRICS, named, pass_at_k
from eval.metrics.summarization import fragments
from eval.statistics import bootstrap
from pipelines.errors import InputError
from pipelines.text.diversity import distinct_n

SOURCE = "The council met on 4 May 2026. Anna Weber said that the bridge in Ulm stays closed until 18:30."


def row(*references: str, language: str = "en", facts: dict[str, Any] | None = None, **request: Any) -> BenchmarkRow:
    return BenchmarkRow("r", request, references, language, facts=facts or {})


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def one(name: str, reply: str, asked: BenchmarkRow) -> float:
    return named(name).score([reply], [asked])


@pytest.mark.parametrize(
    ("reply", "asked", "percent"),
    [
        ("La bibliothèque est fermée le mercredi.", row("x", text="t", language="fr"), 0),
        ("The library is closed on Wednesdays.", row("x", text="t", language="fr"), 100),
        ("图书馆每周三关闭，请在门口的箱子里归还图书，谢谢您的理解与配合。", row("x", text="t", language="fr"), 100),
        ("图书馆每周三关闭，请在门口的箱子里归还图书，谢谢您的理解与配合。", row("x", text="t", language="zh-Hans"), 0),
        ("Yes, it is.", row("x", text="t", language="fr"), 0),  # too short to tell
        ("", row("x", text="t", language="fr"), 0),
        # No letter of the language's script: no detector is needed, however short the reply.
        ("Open file", row("打开文件", text="t", language="zh-Hans"), 100),
        ("打开文件", row("Datei öffnen", text="t", language="de"), 100),
        ("Открыть", row("열기", text="t", language="ko"), 100),
        ("打开 JupyterLab", row("打开 JupyterLab", text="t", language="zh-Hans"), 0),
        ("はい", row("開く", text="t", language="ja"), 0),
        ("好的", row("OK", text="t", language="zh-Hans"), 0),
        ("Jupyter", row("JupyterLab", text="t", language="zh-Hans"), 0),
        ("3.14", row("打开文件", text="t", language="zh-Hans"), 0),
        # The reference is in that language too: a quotation, a product's name.
        ("The library is closed on Wednesdays.", row("The library is closed on Mondays.", text="t", language="fr"), 0),
    ],
)
def test_replies_in_another_language_are_counted(reply: str, asked: BenchmarkRow, percent: float) -> None:
    assert one("wrong_language", reply, asked) == percent


@pytest.mark.parametrize(
    ("reply", "asked", "percent"),
    [
        (SOURCE, row("x", text=SOURCE), 100),
        (SOURCE.replace("closed", "shut").upper(), row("x", text=SOURCE), 100),
        ("Le pont d'Ulm reste fermé.", row("x", text=SOURCE), 0),
        ("", row("x", text=SOURCE), 0),
        ("GNU Make", row("GNU Make", text="GNU Make"), 0),
    ],
)
def test_the_source_as_the_reply_is_a_copy(reply: str, asked: BenchmarkRow, percent: float) -> None:
    assert one("copy", reply, asked) == percent


def test_long_texts_of_one_word_are_compared_in_no_time() -> None:
    assert one("copy", "la " * 3000, row(text="la lo " * 1500)) == 0


@pytest.mark.parametrize(
    ("reply", "asked", "percent"),
    [
        ("Öffnen Sie {file} um 18:30.", row(text="Open {file} at 18:30."), 100),
        ("Öffnen Sie die Datei um 18:30.", row(text="Open {file} at 18:30."), 50),
        ("1.234,5 Euro", row(text="1,234.5 euros"), 100),
        ("", row(text="Open {file} at 18:30."), 0),
        ("drei Katzen, {name}", row("drei Katzen, {name}", text="3 cats, {name}"), 100),
        ("Katzen", row("drei Katzen, {name}", text="3 cats, {name}"), 0),
    ],
)
def test_what_must_survive_is_found_again(reply: str, asked: BenchmarkRow, percent: float) -> None:
    assert one("kept", reply, asked) == percent
    assert math.isnan(one("kept", reply, row(text="Nothing of the kind.")))


def test_a_number_or_name_from_nowhere_is_counted() -> None:
    found = [one("unsupported", text, row(text=SOURCE)) for text in ("Ulm: closed on 4 May.", "Bonn: closed on 5 May.")]
    assert found == [0, 100]


def test_how_a_summary_draws_on_its_source() -> None:
    asked = row(text="the red bridge is closed until monday morning")
    copied, mixed, own = "the red bridge is closed", "the bridge stays closed until monday", "nobody crosses"
    assert [one("compression", text, asked) for text in (copied, mixed, own)] == [8 / 5, 8 / 6, 4]
    assert [one("coverage", text, asked) for text in (copied, own)] == [100, 0]
    assert one("coverage", mixed, asked) == pytest.approx(100 * 5 / 6)
    assert [one("density", text, asked) for text in (copied, mixed, own)] == pytest.approx([5, (1 + 1 + 9) / 6, 0])
    assert [one("novel_bigrams", text, asked) for text in (copied, mixed, own)] == [0, 60, 100]
    for name in ("compression", "coverage", "density", "novel_bigrams"):
        assert named(name).higher_is_better is None
        assert math.isnan(one(name, "", asked))


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_fragments_are_spans_of_both_and_cover_every_shared_word(summary: list[str], source: list[str]) -> None:
    assert sum(fragments(summary, source)) == sum(word in source for word in summary)
    assert fragments(source, source) == ([len(source)] if source else [])


def test_words_of_earlier_turns() -> None:
    asked = row(messages=turns("I like green tea", "Green tea is fine", "And what of black tea at night?"))
    assert one("self_repetition", "Green tea is good", asked) == pytest.approx(200 / 3)
    assert one("echo", "And what of black tea at night?", asked) == 100
    assert one("echo", "It keeps you awake", asked) == 0
    assert math.isnan(one("self_repetition", "Hello there", row(messages=turns("Hello there"))))


@pytest.mark.parametrize(
    ("reply", "percent"),
    [
        ("It is noon.", 0),
        ("It is noon.<|im_end|>", 100),
        ("It is noon.\nUser: and now?", 100),
        ("中午了。\n用户：现在呢？", 100),
        ("### Response\nIt is noon.", 100),
        ("[INST] What time is it? [/INST]", 100),
        ("A user: that is somebody who uses.", 0),
        ("Call it `user:` in the file.", 0),
    ],
)
def test_another_speaker_in_a_reply(reply: str, percent: float) -> None:
    assert one("role_leak", reply, row(messages=turns("What time is it?"))) == percent
    assert one("role_leak", reply, row(messages=turns("What does <|im_end|> mean?"))) == 0


@pytest.mark.parametrize("name", ["context_recall", "prompt_coverage"])
def test_keywords_are_whole_words_in_any_case_and_one_form_is_enough(name: str) -> None:
    asked = row(facts={"keywords": ["cat", ["seven", "7"], "old lighthouse", "灯塔"]})
    assert one(name, "The Cat sat 7 hours in the OLD lighthouse; 旧灯塔。", asked) == 100
    assert one(name, "Concatenated: seventy, an old, tall lighthouse.", asked) == 0
    assert one(name, "", asked) == 0
    assert math.isnan(one(name, "cat", row()))


@pytest.mark.parametrize("keywords", ["cat", [["cat", 3]], [[]], ["?!"], {"cat": 1}])
def test_keywords_of_another_kind_are_refused_with_the_row(keywords: Any) -> None:
    with pytest.raises(InputError) as caught:
        one("context_recall", "cat", row(facts={"keywords": keywords}))
    assert (caught.value.code, caught.value.parameters["row"]) == ("metric_keywords", "r")


def test_python_that_parses() -> None:
    asked = row(instruction="Add two numbers.")
    assert [one("syntax", text, asked) for text in ("def f(a, b):\n    return a + b", "def f(a, b) return", " ")] == [
        100,
        0,
        0,
    ]
    assert math.isnan(one("syntax", "let x = 1;", BenchmarkRow("r", {"language": "javascript"})))


@pytest.mark.parametrize(("samples", "passed", "k"), [(5, 2, 1), (5, 2, 3), (6, 0, 2), (6, 6, 6), (7, 3, 5)])
def test_pass_at_k_is_the_share_of_all_choices_with_a_passing_one(samples: int, passed: int, k: int) -> None:
    choices = list(combinations(range(samples), k))
    expected = sum(min(choice) < passed for choice in choices) / len(choices)
    assert pass_at_k(samples, passed, k) == pytest.approx(expected)


@pytest.mark.parametrize(("samples", "passed", "k"), [(3, 1, 4), (3, 4, 1), (3, 1, 0), (0, 0, 1), (3, -1, 1)])
def test_pass_at_k_refuses_what_cannot_be(samples: int, passed: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(samples, passed, k)


def test_the_form_that_was_asked_for() -> None:
    haiku = "An old silent pond\nA frog jumps into the pond\nSplash! Silence again"
    assert one("form", haiku, row(brief="pond", form="haiku")) == 100
    assert one("form", "A pond.", row(brief="pond", form="haiku")) == 0
    assert math.isnan(one("form", haiku, row(brief="pond")))


def test_distinct_n_is_that_of_the_whole_corpus() -> None:
    replies = ["I do not know", "I do not know", "It rained and it rained and it poured", ""]
    asked = [row() for _ in replies]
    assert named("distinct_2").score(replies, asked) == pytest.approx(100 * distinct_n(replies, 2))
    assert math.isnan(named("distinct_1").score(["", ""], asked[:2]))


def test_a_resample_makes_no_system_look_dull() -> None:
    draw = random.Random(3)
    replies = [" ".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(60)]
    metric = named("distinct_2")
    found = metric.statistics(replies, [row() for _ in replies])
    interval = bootstrap(found, metric.of_sum, rounds=300)
    assert interval.low < metric.of_sum(found.sum(axis=0)) < interval.high


def test_self_bleu_is_that_of_sacrebleu_against_all_others() -> None:
    from sacrebleu.metrics import BLEU

    replies = ["the cat sat on the mat today", "the cat sat on a mat", "a dog ran after the red ball", "the the the"]
    theirs = BLEU(tokenize="none", effective_order=True)
    expected = [
        theirs.sentence_score(text, replies[:place] + replies[place + 1 :]).score for place, text in enumerate(replies)
    ]
    metric = named("self_bleu")
    assert metric.statistics(replies, [row()] * 4)[:, 0].tolist() == pytest.approx(expected)
    assert metric.score(["same words every time"] * 5, [row()] * 5) == pytest.approx(100)
    assert math.isnan(metric.score(["alone"], [row()]))
    assert math.isnan(metric.score(["", ""], [row()] * 2))


def test_repetition_within_a_reply() -> None:
    circle = "and then the sun went down again, " * 12
    assert [one("loop", text, row()) for text in (circle, "The sun went down. The sun came up.")] == [100, 0]
    assert one("repetition", "one two three four five six", row()) == 0
    assert one("repetition", circle, row()) > 80
    assert math.isnan(one("repetition", "too short", row()))


@given(st.text(max_size=60), st.text(min_size=1, max_size=60).filter(str.strip))
def test_no_text_breaks_a_metric_and_rates_count_rows(reply: str, source: str) -> None:
    asked = row(source, text=source, messages=turns(source), instruction=source, brief=source, form="poem")
    for name in METRICS:
        metric = named(name)
        found = metric.statistics([reply, source], [asked, asked])
        assert found.shape[0] == 2
        assert np.isfinite(found).all()
        if metric.is_rate:
            assert {tuple(each) for each in found} <= {(0, 0), (0, 1), (1, 1)}
