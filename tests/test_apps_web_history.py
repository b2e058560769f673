"""Conversations that a browser keeps: nothing is lost, nothing stands twice, whatever the browser sends."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.web.history import EMPTY, MOST, begun, kept, now, recalled, titles
from pipelines.engines.base import Message


def talk(*texts: str) -> list[Message]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def test_a_new_conversation_keeps_the_one_before_and_it_comes_back() -> None:
    first, second = talk("Who are you?", "A model."), talk("What is rain?", "Water.")
    store = begun(kept(EMPTY, first))
    assert (now(store), titles(store)) == ([], [("Who are you?", 0)])
    store = begun(kept(store, second))
    assert [title for title, _ in titles(store)] == ["What is rain?", "Who are you?"]
    store = recalled(store, 1)
    assert now(store) == first
    assert [title for title, _ in titles(store)] == ["What is rain?"]
    assert [title for title, _ in titles(recalled(store, 0))] == ["Who are you?"]
    assert recalled(store, 7) == store


def test_a_branch_keeps_the_whole_conversation_that_it_left() -> None:
    whole = talk("One?", "1", "Two?", "2")
    store = begun(kept(EMPTY, whole), whole[:2])
    assert now(store) == whole[:2]
    assert now(recalled(store, 0)) == whole


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_nothing_stands_twice_and_no_more_than_are_kept(moves: list[tuple[bool, int]]) -> None:
    store: dict[str, Any] = EMPTY
    for new, number in moves:
        store = kept(begun(store), talk(f"Question {number}", "Yes.")) if new else recalled(store, number)
        shown = [title for title, _ in titles(store)]
        assert len(shown) == len(set(shown)) <= MOST
        assert not now(store) or now(store)[0]["content"] not in shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["now", "earlier", "more"]), JSON) | JSON)
def test_whatever_lies_in_the_browser_is_read_as_far_as_it_is_conversations(store: Any) -> None:
    assert now(store) == []
    assert titles(store) == []
    assert now(kept(store, talk("Hi", "Hello"))) == talk("Hi", "Hello")
