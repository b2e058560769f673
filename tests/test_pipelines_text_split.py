import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engines.scripted import ScriptedEngine
from pipelines.text.split import Piece, blocks, flow, group, sentences

COUNT = ScriptedEngine().count_tokens
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
STRUCTURED = st.lists(
    st.sampled_from(["Hello there. ", "Mr. Smith left! ", "word ", "\n", "\n\n", "- ", "1. ",
     "  ", "\t", "你好。", "吗？",
     "，", "\r\n", "e\u0301", "👩‍👩‍👧", "🇫🇷", "a long clause, with commas, goes on ", "x" * 30]),
    max_size=40,
).map("".join)  # fmt: skip


def assert_covers(pieces: list[Piece], start: int, end: int) -> None:
    position = start
    for piece in pieces:
        assert piece.start == position
        assert piece.end > piece.start
        position = piece.end
    assert position == end


def test_structure_is_kept_beside_the_text() -> None:
    text = "# Title\n\n  First line. Second.\n- item one\n2) item two\n\n\n> quoted\n"
    read = [piece.of(text) for piece in blocks(text) if piece.kind == "text"]
    assert read == ["Title", "First line. Second.", "item one", "item two", "quoted"]


def test_a_wrapped_paragraph_stays_together_and_a_poem_does_not() -> None:
    wrapped = (
        "It was a bright cold day in the month of April, and the\nclocks of the town were striking. "
        "Everybody who lived there\nlooked up."
    )
    assert [piece.of(wrapped) for piece in blocks(wrapped)] == [wrapped]
    assert flow(wrapped) == wrapped.replace("\n", " ")
    list_of_lines = (
        "A line that is as long as one that a program wrapped\nAnother line of that length stands below the first one\n"
    )
    assert len([piece for piece in blocks(list_of_lines) if piece.kind == "text"]) == 2
    poem = "Rain on quiet leaves\nA lantern sways in the dark\nSomeone hums your name"
    assert len([piece for piece in blocks(poem) if piece.kind == "text"]) == 3


def test_an_initial_is_not_a_list_marker() -> None:
    for text in ("A. Smith went home.", "I. Newton did."):
        assert [piece.of(text) for piece in blocks(text)] == [text]
    assert [piece.of("iv. part") for piece in blocks("iv. part")] == ["iv. ", "part"]


def test_flow_puts_no_space_between_chinese_characters() -> None:
    assert flow("今天天气\n很好") == "今天天气很好"
    assert flow("one\ntwo") == "one two"


def test_sentences_of_english_and_chinese() -> None:
    english = "Mr. Smith went home. Why? Nobody knows."
    assert [piece.of(english) for piece in sentences(english, Piece(0, len(english)), "en")] == [
        "Mr. Smith went home. ",
        "Why? ",
        "Nobody knows.",
    ]
    chinese = "你好。我们走吧！好。"
    assert [piece.of(chinese) for piece in sentences(chinese, Piece(0, len(chinese)), "zh-Hans")] == [
        "你好。",
        "我们走吧！",
        "好。",
    ]


@given(st.one_of(TEXT, STRUCTURED), st.sampled_from(["en", "zh", "fr", "th", "xx"]), st.integers(3, 40))
def test_every_character_is_in_exactly_one_piece(text: str, language: str, budget: int) -> None:
    found = blocks(text)
    assert_covers(found, 0, len(text))
    for block in found:
        if block.kind == "space":
            continue
        parts = sentences(text, block, language)
        assert_covers(parts, block.start, block.end)
        chunks = group(text, parts, COUNT, budget)
        assert_covers(chunks, block.start, block.end)
        assert all(COUNT(chunk.of(text)) <= budget or chunk.end - chunk.start <= 12 for chunk in chunks)


@given(STRUCTURED)
def test_blank_space_and_line_breaks_are_never_read(text: str) -> None:
    for piece in blocks(text):
        if piece.kind == "text":
            assert piece.of(text) == piece.of(text).strip()


def test_a_long_sentence_is_cut_at_clauses_then_spaces_then_characters() -> None:
    clauses = "one two three four, five six seven eight, nine ten eleven twelve."
    chunks = group(clauses, [Piece(0, len(clauses))], COUNT, 8)
    assert next(chunk.of(clauses) for chunk in chunks) == "one two three four, "
    assert {chunk.code for chunk in chunks} == {"sentence_split"}
    words = "alpha beta gamma delta epsilon zeta"
    assert all(re.fullmatch(r"(\w+ ?)+", chunk.of(words)) for chunk in group(words, [Piece(0, len(words))], COUNT, 4))


@pytest.mark.parametrize("unit", ["👩‍👩‍👧", "🇫🇷", "e\u0301", "\r\n", "👍🏽", "\u1112\u1161\u11ab"])
@given(st.integers(2, 12))
def test_a_visible_character_is_never_cut(unit: str, budget: int) -> None:
    text = unit * 30
    chunks = group(text, [Piece(0, len(text))], len, max(budget, len(unit)))
    assert_covers(chunks, 0, len(text))
    assert all(len(chunk.of(text)) % len(unit) == 0 for chunk in chunks)


def test_no_chunk_is_over_the_budget_when_joining_adds_tokens() -> None:
    text = "ab. cd. ef. gh."

    def count(part: str) -> int:
        return len(part.split()) + (3 if len(part.split()) > 2 else 0)

    parts = sentences(text, Piece(0, len(text)), "en")
    chunks = group(text, parts, count, 4)
    assert_covers(chunks, 0, len(text))
    assert all(count(chunk.of(text)) <= 4 for chunk in chunks)


def test_two_megabytes_take_linear_work() -> None:
    counted = 0

    def count(part: str) -> int:
        nonlocal counted
        counted += len(part)
        return COUNT(part)

    for text in ("Ein kurzer Satz, der sich wiederholt. " * 16_000, "x" * 2_000_000, "word " * 400_000, "好" * 500_000):
        counted = 0
        started = time.perf_counter()
        chunks = [
            chunk
            for block in blocks(text)
            if block.kind == "text"
            for chunk in group(text, sentences(text, block, "de"), count, 200)
        ]
        assert sum(chunk.end - chunk.start for chunk in chunks) >= len(text.rstrip())
        assert counted < 12 * len(text)
        assert time.perf_counter() - started < 30
