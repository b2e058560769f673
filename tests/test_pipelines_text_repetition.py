"""A reply that goes round in circles is told from one that repeats itself with reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engines.scripted import ScriptedEngine
from pipelines.pipeline import Pipeline
from pipelines.tasks import TASKS
from pipelines.text.repetition import LEAST_CHARACTERS, LEAST_TIMES, repeated_end

WORDS = st.lists(
    st.sampled_from(["the", "cat", "sat", "雨", "x1", "and\n", "He said:", "ok."]), min_size=1, max_size=30
)


@given(WORDS.map(" ".join), WORDS.map(" ".join), st.integers(LEAST_TIMES, 9), st.integers(0, 200))
def test_a_circle_is_found_wherever_it_is_cut(before: str, passage: str, times: int, cut: int) -> None:
    passage += " "
    times = max(times, LEAST_CHARACTERS // len(passage) + 1)
    text = before + passage * times + passage[: cut % len(passage)]
    circle = repeated_end(text)
    assert circle is not None
    assert text.count(circle.passage) >= circle.times >= times - 2  # the first and the last may be cut
    assert circle.passage in 2 * passage


@given(st.text(max_size=600))
def test_what_is_called_a_circle_is_one(text: str) -> None:
    if circle := repeated_end(text):
        assert circle.times >= LEAST_TIMES
        assert text.count(circle.passage) >= circle.times


@given(st.lists(WORDS.map(" ".join), min_size=1, max_size=40))
def test_numbered_lists_are_no_circles(items: list[str]) -> None:
    assert repeated_end("\n".join(f"{number}. {item[:40]}" for number, item in enumerate(items, 1))) is None


SONG = "Row, row, row your boat,\nGently down the stream.\n"
CHORUS = "And we will sing, and we will sing,\nUntil the morning comes along the harbour wall.\n"
CODE = "".join(f"    if value == {number}:\n        return names[{number}]\n" for number in range(30))


@pytest.mark.parametrize(
    "text",
    [
        "", "ha ha ha ha ha!", "-" * 400, "0, " * 300, "| --- | --- | --- |\n" * 20, ". . . " * 60, "\n" * 500,
        SONG + CHORUS * 3, f"{SONG}{CHORUS}{SONG}{CHORUS}{SONG}{CHORUS}", CODE,
        "The cat sat on the mat. " * 20 + "Then it rained.",
    ],
)  # fmt: skip
def test_songs_tables_rules_and_code_are_no_circles(text: str) -> None:
    assert repeated_end(text) is None


def test_a_circle_is_named_with_its_passage() -> None:
    circle = repeated_end("A town by the sea. " + "The museum is free on Sundays. " * 9 + "The mus")
    assert circle is not None
    assert (circle.passage, circle.times) == ("The museum is free on Sundays.", 9)


def reply(text: str, limit: int) -> list[str]:
    writer = Pipeline(TASKS["creative_writing"](), ScriptedEngine([text]))
    return [note.code for note in writer(brief="x", max_new_tokens=limit).notes]


def test_a_reply_that_was_cut_in_a_circle_says_so_and_one_that_ended_does_not() -> None:
    text = "The museum is free on Sundays. " * 40
    assert reply(text, 200) == ["reply_repeats", "reply_at_limit"]
    assert "reply_repeats" not in reply(text, 2000)
    assert "reply_repeats" not in reply("A hundred words that are all different, " + CODE, 60)
