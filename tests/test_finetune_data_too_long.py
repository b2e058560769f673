"""Rows that do not fit are counted, divided where that keeps their meaning, or dropped; nothing is ever cut."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.data import DataConfig, Source
from finetune.data.rendering import Renderer
from finetune.data.row import Outcome, Row
from finetune.data.too_long import _longest, too_long
from tests.doubles.data_rows import counting_model


class Steps:
    """The step for a task and a limit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.renderers: dict[str, Renderer] = {}

    def __call__(self, row: Row, task: str, limit: int, policy: Any = "split") -> Outcome:
        if task not in self.renderers:
            self.renderers[task] = Renderer.load(str(self._folder), task)
        source = [Source(path="rows.jsonl")]
        config = DataConfig(task=task, sources=source, max_tokens=limit, too_long=policy)
        return too_long(self.renderers[task], config)(row)

    def tokens(self, row: Row, task: str) -> int:
        (counted,) = self(row, task, 1_000_000).rows
        return counted.tokens


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    return Steps(counting_model(tmp_path_factory.mktemp("model")))


def translation(text: str, reply: str) -> Row:
    return Row("rows:1", {"text": text, "source": "en", "target": "fr"}, reply, "doc:1", "rows")


def dialogue(*turns: str, system: str = "") -> Row:
    messages = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(turns)]
    request = {"messages": messages[:-1], **({"system": system} if system else {})}
    return Row("rows:1", request, turns[-1], "doc:1", "rows")


PARAGRAPHS = ["A river under a tree.", "  A lamp in the garden.", "The morning walks quietly.", "A letter."]


def test_a_row_that_fits_is_counted_and_otherwise_as_it_was(step: Steps) -> None:
    row = translation("A river.", "Une rivière.")
    outcome = step(row, "translation", 1000)
    (counted,) = outcome.rows
    rendered = step.renderers["translation"].render(row)
    assert (counted.tokens, counted.trained) == (len(rendered.tokens), sum(rendered.labels))
    assert (counted.request, counted.reply, counted.id, outcome.changes) == (row.request, row.reply, row.id, ())
    assert step(row, "translation", counted.tokens).rows
    assert step(row, "translation", counted.tokens - 1).reason == "not_splittable"


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_without_splitting_it_is_dropped_with_what_would_fit(step: Steps, policy: str) -> None:
    row = translation("\n".join(PARAGRAPHS), "\n".join(PARAGRAPHS))
    tokens = step.tokens(row, "translation")
    outcome = step(row, "translation", tokens - 1, policy)
    assert (outcome.reason, outcome.details) == ("too_long", {"tokens": tokens, "limit": tokens - 1})


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


LINE = st.lists(st.sampled_from(["river", "stone", "lamp", "中文", "  a", "é", "3.5", "(b)"]), min_size=1, max_size=8)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    lines=st.lists(st.tuples(LINE, LINE, st.sampled_from(["\n", "\n\n", ". ", "\n\n\n"])), min_size=1, max_size=8),
    room=st.integers(-30, 150),
)
def test_pieces_of_a_translation_are_the_whole_text_in_order_and_fit(lines: Any, room: int, step: Steps) -> None:
    ends = [end for *_, end in lines[:-1]] + [""]
    text, reply = (
        "".join(" ".join(line[side]) + end for line, end in zip(lines, ends, strict=True)).strip() for side in (0, 1)
    )
    row = translation(text, reply)
    shortest = translation("a", "a")
    limit = max(16, step.tokens(shortest, "translation") + room)
    outcome = step(row, "translation", limit)
    if not outcome.rows:
        assert outcome.reason == "not_splittable"
        assert outcome.details == {"tokens": step.tokens(row, "translation"), "limit": limit}
        return
    pieces = outcome.rows
    assert all(0 < piece.tokens <= limit and piece.trained for piece in pieces)
    assert all(piece.tokens == step.tokens(piece, "translation") for piece in pieces)
    for whole, parts in ((text, [p.request["text"] for p in pieces]), (reply, [p.reply for p in pieces])):
        assert squeezed("".join(parts)) == squeezed(whole)
        cursor = 0
        for part in parts:  # each stands in the row as it is, its indentation too
            cursor = whole.index(part, cursor) + len(part)
    assert all((piece.group, piece.source, piece.request["target"]) == ("doc:1", "rows", "fr") for piece in pieces)
    if len(pieces) > 1:
        assert [piece.id for piece in pieces] == [f"rows:1.{number}" for number in range(1, len(pieces) + 1)]
        assert outcome.changes == ("split",)


def test_pieces_are_as_large_as_they_can_be(step: Steps) -> None:
    row = translation("\n".join(PARAGRAPHS), "\n".join(PARAGRAPHS))
    two = step.tokens(translation("\n".join(PARAGRAPHS[:2]), "\n".join(PARAGRAPHS[:2])), "translation")
    pieces = step(row, "translation", two).rows
    assert [piece.request["text"] for piece in pieces] == ["\n".join(PARAGRAPHS[:2]), "\n".join(PARAGRAPHS[2:])]


@pytest.mark.parametrize(
    ("text", "reply", "parts"),
    [
        ("One river. Two lamps. Three trees.", "Une rivière. Deux lampes. Trois arbres.", 3),
        ("One river. Two lamps.", "一条河。两盏灯。", 2),
        ("One river.\nTwo lamps. Or three.", "Une rivière.\nDeux lampes, ou trois.", 2),  # by paragraphs
        ("One river. Two lamps.", "Une rivière et deux lampes.", 0),
        ("One river.\n\nTwo lamps.", "Une rivière et deux lampes.", 0),
        ("One river.\n \nTwo lamps.", "Une rivière.\nEt\ndeux lampes.", 2),  # a blank line is no part
    ],
)
def test_both_sides_need_as_many_parts(text: str, reply: str, parts: int, step: Steps) -> None:
    row = translation(text, reply)
    outcome = step(row, "translation", step.tokens(row, "translation") - 1)
    assert bool(outcome.rows) == bool(parts)
    longest = max(step.tokens(piece, "translation") for piece in outcome.rows) if outcome.rows else 0
    assert longest < step.tokens(row, "translation")
    assert outcome.reason == ("" if parts else "not_splittable")


def test_one_part_that_does_not_fit_drops_the_whole_row(step: Steps) -> None:
    text = f"A river.\n{'A very long lamp ' * 40}\nA tree."
    row = translation(text, text)
    assert step(row, "translation", step.tokens(translation("A river.", "A river."), "translation") + 20).reason == (
        "not_splittable"
    )


TURNS = st.lists(st.sampled_from(["river", "a lamp under a tree", "3", "x" * 40]), min_size=2, max_size=12)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    turns=TURNS.filter(lambda turns: len(turns) % 2 == 0),
    system=st.sampled_from(["", "Be kind."]),
    room=st.integers(0, 200),
)
def test_windows_of_a_dialogue_hold_whole_exchanges_and_the_system_message(
    turns: list[str], system: str, room: int, step: Steps
) -> None:
    row = dialogue(*turns, system=system)
    limit = max(16, step.tokens(dialogue("a", "a", system=system), "dialogue") + room)
    outcome = step(row, "dialogue", limit)
    if not outcome.rows:
        assert outcome.reason == "not_splittable"
        return
    said = []
    for piece in outcome.rows:
        roles = [turn["role"] for turn in piece.request["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        assert piece.request.get("system", "") == system
        assert piece.tokens <= limit
        said += [*(turn["content"] for turn in piece.request["messages"]), piece.reply]
    assert said == turns


def test_a_system_turn_goes_with_every_window(step: Steps) -> None:
    said = [("system", "Be kind."), ("user", "A river?"), ("assistant", "Yes."), ("user", "A tree?")]
    turns = [{"role": role, "content": text} for role, text in said]
    row = Row("rows:1", {"messages": turns}, "Yes, one tree.", "g", "rows")
    pieces = step(row, "dialogue", step.tokens(row, "dialogue") - 1).rows
    found = [[*(turn["content"] for turn in piece.request["messages"]), piece.reply] for piece in pieces]
    assert found == [["Be kind.", "A river?", "Yes."], ["Be kind.", "A tree?", "Yes, one tree."]]


@pytest.mark.parametrize(
    ("task", "request_"),
    [
        ("summarization", {"text": "A river.\nA lamp.\nA tree."}),
        ("code_generation", {"instruction": "One.\nTwo.\nThree."}),
        ("creative_writing", {"brief": "One.\nTwo.\nThree."}),
    ],
)
def test_what_is_one_piece_of_work_is_not_divided(task: str, request_: dict[str, Any], step: Steps) -> None:
    row = Row("rows:1", request_, "A.\nB.\nC.", "g", "rows")
    tokens = step.tokens(row, task)
    outcome = step(row, task, tokens - 1)
    assert (outcome.reason, outcome.details) == ("not_splittable", {"tokens": tokens, "limit": tokens - 1})


def test_a_row_that_no_model_can_read_is_dropped_with_the_problem(step: Steps) -> None:
    outcome = step(translation("A river.<|end|>", "Une rivière."), "translation", 1000)
    assert outcome.reason == "not_renderable"
    assert "<|end|>" in outcome.details["problem"]


@settings(max_examples=200)
@given(st.integers(1, 300), st.integers(0, 300))
def test_the_longest_beginning_is_found_in_few_tries(most: int, fits: int) -> None:
    tried: list[int] = []

    def fitting(count: int) -> Row | None:
        tried.append(count)
        return Row(str(count), {}, "", "", "") if count <= fits else None

    best = min(fits, most)
    found = _longest(fitting, most)
    assert found == ((Row(str(best), {}, "", "", ""), best) if best else None)
    assert len(tried) == len(set(tried)) <= 2 * (best + 1).bit_length() + 1
