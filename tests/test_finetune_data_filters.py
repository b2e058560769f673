"""Rows that teach nothing are dropped with a reason; what is short, mixed or in a close language stays."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data import DataConfig, Lengths, Source
from finetune.data.filters import language_filter, length_filter
from finetune.data.row import Outcome, Row
from pipelines.errors import InputError


def row(request: dict[str, Any], reply: str) -> Row:
    return Row("rows:1", request, reply, "g", "rows")


def measured(text: str, reply: str, task: str = "translation", **lengths: Any) -> Outcome:
    return length_filter(Lengths(**lengths), task)(row({"text": text, "target": "fr"}, reply))


@pytest.mark.parametrize(
    ("text", "reply", "limits", "reason"),
    [
        ("abc", "abc", {"min_characters": 3}, ""),
        ("ab", "abcd", {"min_characters": 3}, "too_short"),
        ("abcd", "ab", {"min_characters": 3}, "too_short"),
        ("abcde", "abcde", {"max_characters": 10}, ""),
        ("abcdef", "abcde", {"max_characters": 10}, "too_large"),
        (" \n", "abc", {}, "request_empty"),
        ("abc", "\t ", {}, "reply_empty"),
        ("\u3000", "abc", {}, "request_empty"),
        ("a" * 25, "b" * 100, {}, ""),  # four times
        ("a" * 25, "b" * 101, {}, "lopsided"),
        ("a" * 101, "b" * 25, {}, "lopsided"),
        ("a", "b" * 80, {}, ""),  # too short to be compared
        ("a", "b" * 81, {}, "lopsided"),
        ("a" * 50, "b" * 100, {"max_ratio": 2.0}, ""),
        ("a" * 50, "b" * 101, {"max_ratio": 2.0}, "lopsided"),
        ("The train to the north leaves at ten o'clock from platform two.", "北行列车十点从二号站台发车。", {}, ""),
    ],
)
def test_lengths_at_their_bounds(text: str, reply: str, limits: dict[str, Any], reason: str) -> None:
    outcome = measured(text, reply, **limits)
    assert outcome.reason == reason
    assert bool(outcome.rows) == (not reason)
    assert outcome.changes == ()


def test_a_glossary_beside_an_empty_text_asks_for_nothing() -> None:
    empty = row({"text": "", "target": "fr", "glossary": {"tree": "arbre"}}, "x" * 100)
    assert length_filter(Lengths(), "translation")(empty).reason == "request_empty"


def test_only_translations_are_compared_side_by_side() -> None:
    assert measured("a" * 1000, "b" * 10, "summarization").reason == ""


def test_all_turns_of_a_conversation_count_together() -> None:
    turns = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "c"}]
    step = length_filter(Lengths(min_characters=3), "dialogue")
    assert step(row({"messages": turns}, "abc")).reason == ""
    assert step(row({"messages": turns[:1]}, "abc")).details == {"characters": 2, "limit": 3}


@given(st.text(max_size=30), st.text(max_size=30), st.integers(1, 20), st.integers(1, 40))
def test_a_row_is_kept_as_it_is_or_dropped_for_one_reason(text: str, reply: str, least: int, most: int) -> None:
    one = row({"text": text, "target": "fr"}, reply)
    outcome = length_filter(Lengths(min_characters=least, max_characters=most), "translation")(one)
    assert outcome.rows == ((one,) if not outcome.reason else ())
    if not outcome.reason:
        assert min(len(text), len(reply)) >= least
        assert len(text) + len(reply) <= most


def judged(reply: str, target: str, task: str = "translation", **changes: Any) -> str:
    config = DataConfig(task=task, sources=[Source(path="rows.jsonl")], **changes)
    name = "target" if task == "translation" else "language"
    return language_filter(config)(row({"text": "x", **({name: target} if target else {})}, reply)).reason


SENTENCES = {
    "en": "This morning I am going to the market to buy fresh fruit.",
    "zh": "今天早上我去市场买新鲜的水果和蔬菜，然后回家做饭。",
    "zh-Hant": "今天早上我去市場買新鮮的水果和蔬菜，然後回家做飯。",
    "yue": "今朝早我去街市買新鮮嘅生果同蔬菜，跟住返屋企煮飯。",
    "fr": "Ce matin, je vais au marché acheter des fruits frais.",
    "de": "Heute Morgen gehe ich auf den Markt und kaufe frisches Obst.",
    "es": "Esta mañana voy al mercado a comprar fruta fresca y pan.",
    "da": "Jeg går på markedet i dag for at købe frisk frugt og brød.",
    "nb": "Jeg går på markedet i dag for å kjøpe frisk frukt og brød.",
    "nn": "Eg går på marknaden i dag for å kjøpe frisk frukt og brød.",
    "hr": "Danas idem na tržnicu kupiti svježe voće, povrće i kruh.",
    "sr": "Данас идем на пијацу да купим свеже воће, поврће и хлеб.",
    "id": "Hari ini saya pergi ke pasar untuk membeli buah segar dan roti.",
    "gl": "Hoxe vou ao mercado a mercar froita fresca e pan para todos.",
    "ru": "Сегодня утром я иду на рынок за свежими фруктами и хлебом.",
    "ar": "أذهب هذا الصباح إلى السوق لشراء الفاكهة الطازجة والخبز.",
    "hi": "आज सुबह मैं ताज़े फल और रोटी खरीदने बाज़ार जा रहा हूँ।",
    "ja": "今朝は新鮮な果物を買いに市場へ行きます。それから家に帰ります。",
    "yi": "איך גיי הײַנט אין מאַרק צו קויפן פרישע פרוכט און ברויט.",
}


@pytest.mark.parametrize("tag", SENTENCES)
def test_a_text_in_its_language_stays(tag: str) -> None:
    assert judged(SENTENCES[tag], tag) == ""


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("zh", "yue"), ("yue", "zh"), ("zh-Hant", "zh-Hans"), ("zh", "zh-CN"),
        ("da", "nb"), ("nb", "da"), ("nn", "nb"), ("hr", "sr"), ("id", "ms"), ("gl", "pt"), ("ar", "ar-EG"),
        ("de", "de-AT"), ("es", "es-419"),
    ],
)  # fmt: skip
def test_close_languages_count_as_one(text: str, target: str) -> None:
    assert judged(SENTENCES[text], target) == ""


@pytest.mark.parametrize(
    ("text", "target"),
    [("en", "fr"), ("en", "zh"), ("zh", "en"), ("fr", "es"), ("de", "nl"), ("ja", "zh"), ("zh", "ko"), ("ar", "ru")],
)
def test_another_language_is_dropped(text: str, target: str) -> None:
    assert judged(SENTENCES[text], target) == "wrong_language"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("The cat sleeps on the mat, doesn't it", "fr"),  # 37 bytes
        ("今天天气很好我们去", "fr"),
        ("LibreOffice Writer, Calc, Impress, Draw, Base, Math", "de"),
        ("https://www.example.com/path/to/resource?query=value", "es"),
        ("1234567890 1234567890 1234567890 1234567890 1234567890", "es"),
        ("for (int i = 0; i < n; i++) { printf(\"%d\", i); }", "es"),
        ("東京都庁舎展望室入場案内所一覧表", "ja"),  # no kana: the detector is sure that it is Chinese
        (SENTENCES["yi"], "yi"),  # and that this is Hebrew
    ],
)  # fmt: skip
def test_what_cannot_be_judged_stays(text: str, target: str) -> None:
    assert judged(text, target) == ""


def test_a_long_chinese_text_is_no_japanese() -> None:
    assert judged(SENTENCES["zh"] * 3, "ja") == "wrong_language"


def test_both_sides_of_a_translation_are_judged_and_auto_is_no_language() -> None:
    step = language_filter(DataConfig(task="translation", sources=[Source(path="x")]))
    sides = {"text": SENTENCES["de"], "target": "fr"}
    assert step(row({**sides, "source": "en"}, SENTENCES["fr"])).details == {"expected": ["en"], "found": "de"}
    assert step(row({**sides, "source": "auto"}, SENTENCES["fr"])).rows
    assert step(row(sides, SENTENCES["fr"])).rows


def test_other_tasks_are_judged_where_a_language_is_named() -> None:
    assert judged(SENTENCES["en"], "fr", "summarization") == "wrong_language"
    assert judged(SENTENCES["en"], "", "summarization") == ""
    assert judged(SENTENCES["en"], "", "summarization", languages=["zh", "fr"]) == "wrong_language"
    assert judged(SENTENCES["fr"], "", "summarization", languages=["Chinese", "French"]) == ""
    assert judged(SENTENCES["fr"], "python", "code_generation", languages=["en"]) == ""
    with pytest.raises(InputError, match="qqqq"):
        language_filter(DataConfig(task="dialogue", sources=[Source(path="x")], languages=["qqqq"]))
