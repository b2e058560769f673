"""The page Compare as plain functions: the difference of two texts, votes, and what both sides are asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.web.compare import FIELDS, Side, request_fields, tally_line, voted, word_diff
from apps.web.strings import Strings
from pipelines.generation import GenerationOptions
from pipelines.tasks import TASKS

TEXTS = st.lists(st.sampled_from(["rain", "snow", " ", "。", "雪", "雨", "\n", "!", "éa"]), max_size=30).map("".join)


@given(TEXTS, TEXTS)
def test_both_texts_can_be_read_out_of_their_difference(first: str, second: str) -> None:
    pieces = word_diff(first, second)
    assert "".join(text for text, sign in pieces if sign != "+") == first
    assert "".join(text for text, sign in pieces if sign != "-") == second
    assert all(text for text, _ in pieces)
    if first == second:
        assert {sign for _, sign in pieces} <= {None}


def test_words_differ_as_words_and_chinese_by_characters() -> None:
    assert word_diff("The snow fell.", "The rain fell.") == [
        ("The ", None), ("snow", "-"), ("rain", "+"), (" fell.", None),
    ]  # fmt: skip
    assert ("雪", "-") in word_diff("下雪了", "下雨了")


@pytest.mark.parametrize("task", FIELDS)
def test_each_task_takes_what_both_sides_are_asked(task: str) -> None:
    fields = request_fields(task, "Add two numbers.", "fr", Side("base", 0.5), 7)
    options = {name: fields.pop(name) for name in ("adapter", "temperature", "seed", "max_new_tokens")}
    TASKS[task].request_type(**fields)
    assert GenerationOptions(**options).seed == 7
    assert "adapter" not in request_fields(task, "x", "fr", Side("", 0.0), 7)


def test_a_blind_vote_counts_for_the_setting_and_not_for_the_place() -> None:
    assert voted([0, 0, 0], [1, 0], 0) == [0, 1, 0]
    assert voted([0, 1, 0], [0, 1], 0) == [1, 1, 0]
    assert voted([1, 1, 0], [1, 0], None) == [1, 1, 1]


@pytest.mark.parametrize(("votes", "word"), [([0, 0, 2], "none"), ([2, 1, 0], "cannot tell"), ([9, 0, 1], "more than")])
def test_the_tally_says_what_it_is_worth(votes: list[int], word: str) -> None:
    assert word in tally_line(votes, Strings("en"))
