import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.text.preamble import one_line, strip_preamble


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Sure, here is the translation:\n\nBonjour.", "Bonjour."),
        ("Sure! Here's the French translation: Bonjour.", "Bonjour."),
        ("Here's a summary of the text:\n- one\n- two", "- one\n- two"),
        ("Certainly!\n\nHere is the translation:\nBonjour.", "Bonjour."),
        ("Certainly! Below is a short poem about rain:\n\nRain falls.", "Rain falls."),
        ("Translation: Bonjour.", "Bonjour."),
        ("French translation (formal): Bonjour.", "Bonjour."),
        ("**Translation:** Bonjour.", "Bonjour."),
        ("**Translation**: Bonjour.", "Bonjour."),
        ("## Summary\n\nIt rained.", "It rained."),
        ("Sure, here you go:\nBonjour.", "Bonjour."),
        ("好的，以下是翻译：\n你好。", "你好。"),
        ("当然可以！以下是译文：你好。", "你好。"),
        ("翻译：你好。", "你好。"),
        ("中文翻译如下：\n你好。", "你好。"),
        ("好的。\n你好。", "你好。"),
        ('"Bonjour."', "Bonjour."),
        ("“你好。”", "你好。"),
        ("  «Bonjour.»\n", "Bonjour."),
        ("```\nBonjour.\n```", "Bonjour."),
        ("```text\nBonjour.\n\nSalut.\n```\n", "Bonjour.\n\nSalut."),
        ('Here is the translation:\n\n"Bonjour."', "Bonjour."),
    ],
)
def test_what_surrounds_the_answer_is_removed(reply: str, answer: str) -> None:
    assert strip_preamble(reply, True) == answer


@pytest.mark.parametrize(
    "reply",
    [
        "Bonjour.",
        "Sure as the sun will rise,\nthe day is long.",
        "Here is the thing: nobody knew.",
        "Of course he went home: it was late.",
        "Okay",
        '"Yes," he said, "I know."',
        "“Yes,” he said.",
        "```python\nx = 1\n```\nThis sets x.",
        "The translation of the book took a year: it was long.",
        "* Answer: 42\n* Question: unknown",
        "以下几点很重要：一、二、三。",
        "这是一个很长的故事，从前有一座山。",
        '"',
        "“”",
        "",
    ],
)
def test_an_answer_that_only_resembles_a_preamble_stays(reply: str) -> None:
    assert strip_preamble(reply, True) == reply


def test_what_the_source_has_itself_belongs_to_the_answer() -> None:
    assert strip_preamble("Result: 3", True, source="Résultat : 3") == "Result: 3"
    assert strip_preamble("“Bonjour.”", True, source='"Hello."') == "“Bonjour.”"
    assert (
        strip_preamble("Here is the summary: rain.", True, source="Voici le résumé : pluie.")
        == "Here is the summary: rain."
    )
    assert strip_preamble("Sure, here is the translation: Result: 3", True, source="Résultat : 3") == "Result: 3"


def test_ordinary_text_is_shown_after_a_few_words() -> None:
    assert strip_preamble("The cat sat on the", False) == "The cat sat on the"
    assert strip_preamble("今天天气很好，我们去公园", False) == "今天天气很好，我们去公园"
    assert strip_preamble("Sure, here is", False) == ""
    assert strip_preamble('"Bonjour', False) == ""
    assert strip_preamble('"Yes," he', False) == '"Yes," he'
    assert strip_preamble("Bonjour. \n", False) == "Bonjour."


PIECES = st.sampled_from(
    ["Sure", "!", ",", " ", "\n", "Here", " is", "'s", " the", " translation", ":", "：", "**", "*", "#", '"', "“", "”",
     "```", "`", "Translation", "summary", "好的", "，", "以下是", "译文", "text", "Bonjour", ".", "French", "(", ")",
     "\t", "é", "Note", "\n\n", "你", "Okay"]
)  # fmt: skip


@given(
    st.one_of(st.lists(PIECES, max_size=30).map("".join), st.text(max_size=60)),
    st.sampled_from(["", "a: b", '"q"', "```\nx"]),
)
@example("Sure! Here is the translation:\n\n```\nBonjour\n```\n", "")
@example("**Translation:** *x*", "")
def test_a_growing_reply_is_never_taken_back(reply: str, source: str) -> None:
    shown = ""
    for length in range(len(reply) + 1):
        value = strip_preamble(reply[:length], False, source=source)
        assert value.startswith(shown)
        shown = value
    final = strip_preamble(reply, True, source=source)
    assert final.startswith(shown)
    assert final == final.strip()
    assert final in reply


@given(st.one_of(st.lists(PIECES, max_size=30).map("".join), st.text(max_size=60)))
@example("Bonjour.\n\nNote: this is formal.")
def test_a_growing_line_is_never_taken_back(reply: str) -> None:
    shown = ""
    for length in range(len(reply) + 1):
        value = one_line(strip_preamble(reply[:length], False), False)
        assert value.startswith(shown)
        shown = value
    final = one_line(strip_preamble(reply, True), True)
    assert final.startswith(shown)
    assert "\n" not in final


def test_remarks_behind_a_blank_line_are_removed_and_lines_joined() -> None:
    assert one_line("Bonjour.\n\nNote: I used the formal form.", True) == "Bonjour."
    assert one_line("Bonjour.\n\nAu revoir.", True) == "Bonjour. Au revoir."
    assert one_line("你好。\n再见。", True) == "你好。再见。"
