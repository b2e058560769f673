"""Texts are made whole, once and for all; clean ones of any script, and code, are left as they are."""

import unicodedata

import ftfy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finetune.data.cleaning import _settings, normalize, normalized, repair, repaired
from finetune.data.row import Row

CLEAN = [
    "It’s “fine” — isn't it? 50 % of £3.20, 20 °C, x² ≤ ½… naïve café",
    "今天我去市场买新鲜的水果，“真便宜！”他说：「好的」《书》……①②",
    "À l’été, « où » est-il ? Ça va, œuvre, Noël, cœur ; 12 h 30",
    "Größe, Straße, „Übung“, Äpfel – 3 × 4 = 12 €, ÜBER",
    "¿Qué? ¡Mañana! El pingüino, 1.º, ñandú, Ñ",
    "مرحبا بالعالم، كيف حالك؟ ١٢٣ لا\u200eABC\u200f",
    "हिन्दी में लिखा है, क्\u200dष और र्\u200cक ।",
    "می\u200cروم به خانه",
    "👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 👍🏽 ❤️ 🇫🇷 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "(ツ) ¯\\_(ツ)_/¯",
    "Привет, мир! Ёлка — «да»; Ελληνικά, Ωμέγα; עברית שָׁלוֹם",
    "日本語のテキスト、カタカナ・ひらがな。한국어 텍스트",
    "Tiếng Việt, Čeština ř ž, Türkçe ğ ı İ, Polski łódź, Íslenska þð",
    "def f(x):\n\tif x:\n\t\treturn '\\x00'\n    \treturn 1  # ü",
    "    return self.value\n\n\n    # two blank lines stay",
    "<a href='x'>&lt;b&gt;&amp;</a> ﬁne ＡＢＣ １２３",
    "|  a |  b |\n|----|----|\n$x^2$ \\alpha",
    "",
]


@pytest.mark.parametrize("text", CLEAN)
def test_clean_texts_stay_as_they_are(text: str) -> None:
    text = unicodedata.normalize("NFC", text)
    assert repaired(text) == text
    kinds: set[str] = set()
    assert normalized(text, kinds) == text
    assert kinds == set()


SENTENCES = [
    "Où est le café ? À bientôt, Noël…", "Größe über Äpfel", "“It’s fine” — he said", "mañana ¿sí?",
    "今天天气很好。", "Привет", "naïve", "Öl für 5 €",
]  # fmt: skip


@pytest.mark.parametrize("text", SENTENCES)
@pytest.mark.parametrize("encoding", ["windows-1252", "latin-1"])
def test_mojibake_is_undone(text: str, encoding: str) -> None:
    try:
        broken = text.encode().decode(encoding)
    except UnicodeDecodeError:  # windows-1252 has no letter for some bytes; browsers take latin-1's
        broken = text.encode().decode("latin-1")
    assert broken != text
    assert repaired(broken) == text
    assert repaired(f"Before. {broken}\nAfter.") == f"Before. {text}\nAfter."


def test_half_of_a_text_may_be_broken() -> None:
    assert repaired("Das Café und die BÃ¼cher") == "Das Café und die Bücher"


def test_line_breaks_of_code_are_the_only_thing_that_changes() -> None:
    code = "class A:\r\n\tdef f(self):\r\n\t\treturn 1\r\n\r\n\r\nclass B:\r    pass"
    kinds: set[str] = set()
    assert normalized(code, kinds) == code.replace("\r\n", "\n").replace("\r", "\n")
    assert kinds == {"line_breaks"}


@pytest.mark.parametrize(
    ("text", "after", "kinds"),
    [
        ("a\u202eb\u202cc\u2066d\u2069", "abcd", {"invisible_characters"}),
        ("zero\u200bwidth\ufeff \u00adsoft\x00", "zerowidth soft", {"invisible_characters"}),
        ("\x1b[31mred\x00\x1b[0m", "red", {"invisible_characters", "terminal_sequences"}),
        ("one page\x0canother\x0bline\x85next\u2028last", "one page\nanother\nline\nnext\nlast", {"line_breaks"}),
        ("cafe\u0301 \u1112\u1161\u11ab", "café 한", {"unicode_form"}),
        ("\n \n    x = 1  \n\t\ny\n\n", "    x = 1\n\ny", {"blank_space"}),
        ("\r\n \u200b x\u3000", "  x", {"line_breaks", "invisible_characters", "blank_space"}),
        (" \n\t", "", {"blank_space"}),
    ],
)  # fmt: skip
def test_normal_form(text: str, after: str, kinds: set[str]) -> None:
    found: set[str] = set()
    assert normalized(text, found) == after
    assert found == kinds


TEXTS = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("aé中Ã©â€™œ° \n\r\t\x00\x0c\u200b\u202e\u0301\ufeffÂ\xa0\x80\x99🙂"),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(TEXTS)
@example("\r\x00\n")
@example("\u0301\n\u200b \n x")
@example("a\x0b\u0301")
def test_normal_form_is_reached_in_one_step(text: str) -> None:
    once = normalized(text)
    again: set[str] = set()
    assert normalized(once, again) == once
    assert again == set()


@settings(max_examples=300)
@given(TEXTS)
@example("ÃƒÂ©")
def test_what_was_repaired_stays(text: str) -> None:
    once = repaired(text)
    assert repaired(once) == once


@settings(max_examples=500)
@given(st.one_of(TEXTS, TEXTS.map(lambda text: f"plain words {text.encode().decode('latin-1')} and others")))
@example("a œ")
@example("x" * 40 + " Ã " + "y" * 40)
def test_the_short_cut_gives_what_the_whole_library_gives(text: str) -> None:
    assert repaired(text) == ftfy.fix_text(text, _settings())


def test_every_text_of_a_row_is_read_and_nothing_else() -> None:
    turns = [{"role": "system", "content": "CafÃ©"}, {"role": "user", "content": "a\r\nb"}]
    row = Row("rows:1", {"messages": turns, "language": "fr"}, "dÃ©jÃ \xa0vu ", "g", "rows")
    outcome = repair(row, "dialogue")
    assert outcome.changes == ("mojibake",)
    (fixed,) = outcome.rows
    assert [turn["content"] for turn in fixed.request["messages"]] == ["Café", "a\r\nb"]
    outcome = normalize(fixed, "dialogue")
    assert outcome.changes == ("blank_space", "line_breaks")
    assert (outcome.rows[0].id, outcome.rows[0].request["language"]) == ("rows:1", "fr")
    assert row.request["messages"][0]["content"] == "CafÃ©"  # the row that was given is as it was
    assert normalize(outcome.rows[0], "dialogue").rows[0] is outcome.rows[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a \x1b[31mred\x1b[0m word", "a red word"),
        ("\x1b]0;title\x07prompt", "prompt"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("torn \x1b[31", "torn [31"),
        ("list[3m] stays", "list[3m] stays"),
    ],
)
def test_sequences_of_a_terminal_go_as_a_whole(text: str, expected: str) -> None:
    assert normalized(text) == expected
