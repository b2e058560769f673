"""The longest span that a reply has from its training rows and not from its request."""

from hypothesis import given
from hypothesis import strategies as st

from finetune.judging.copied import FEWEST, Copied, longest_copied

LEARNED = ["The old mill turns slowly above the silver river at dawn.", "风从山谷里慢慢吹来，带着松针的气味。"]


def test_a_line_that_was_learned_is_found_within_a_reply() -> None:
    reply = "I remember: the old mill turns slowly above the green hill."
    (found,) = longest_copied([reply], ["Write a poem."], LEARNED)
    assert found == Copied(7, "the old mill turns slowly above the")


def test_what_the_request_says_is_no_memory() -> None:
    reply = "The old mill turns slowly above the silver river."
    assert longest_copied([reply], [f"Go on: {reply}"], LEARNED) == [Copied()]
    partly = longest_copied([reply], ["Go on: the old mill turns slowly"], LEARNED)
    assert partly[0].words == 9


def test_chinese_is_counted_by_character() -> None:
    (found,) = longest_copied(["夜里风从山谷里慢慢吹来了"], ["写一句"], LEARNED)
    assert (found.words, found.text.replace(" ", "")) == (9, "风从山谷里慢慢吹来")


def test_short_and_empty_replies_and_no_training_rows() -> None:
    assert longest_copied(["", "The old mill."], ["a", "b"], LEARNED) == [Copied(), Copied()]
    assert longest_copied(["a b c d e"], [""], []) == [Copied()]
    assert longest_copied([], [], LEARNED) == []


words = st.lists(st.sampled_from("abc"), max_size=12)


@given(st.lists(words, max_size=3), words, words)
def test_it_is_the_longest_common_run_of_words(learned: list[list[str]], reply: list[str], request: list[str]) -> None:
    (found,) = longest_copied([" ".join(reply)], [" ".join(request)], [" ".join(text) for text in learned])

    def stands_in(span: list[str], text: list[str]) -> bool:
        return any(text[at : at + len(span)] == span for at in range(len(text) - len(span) + 1))

    spans = [reply[start:end] for start in range(len(reply)) for end in range(start + FEWEST, len(reply) + 1)]
    copied = [span for span in spans if any(stands_in(span, text) for text in learned)]
    # A span that can be made longer is none of its own: with the request's words and one more it is no memory yet.
    whole = [span for span in copied if not stands_in(span, request)]
    assert found.words <= max(map(len, whole), default=0)
    if not any(stands_in(span, request) for span in copied):
        assert found.words == max(map(len, whole), default=0)
