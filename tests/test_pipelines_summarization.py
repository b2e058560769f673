import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from pipelines.engines.base import Call, Completion
from pipelines.engines.scripted import ScriptedEngine
from pipelines.errors import InputError
from pipelines.generation import Generation, Note
from pipelines.pipeline import Pipeline
from pipelines.prompts import load_prompt
from pipelines.tasks.summarization import CHUNK_TOKENS, Summarization, SummarizationRequest
from pipelines.wording import sentence

SHORT = (
    "The old bridge over the river was closed in March after engineers found cracks in two of its 6 pillars. "
    "The town of Aldersford plans to rebuild it for walkers only, which costs 4 million euros."
)


def first_words(call: Call) -> str:
    assert isinstance(call.request, SummarizationRequest)
    return " ".join(call.request.text.split()[:12])


def summarization(script: Any = first_words, **options: Any) -> Pipeline:
    return Pipeline(Summarization(), ScriptedEngine(script, **options), load_prompt("summarization"))


def only(result: Generation, code: str) -> Note:
    (note,) = [note for note in result.notes if note.code == code]
    assert all(not sentence(note, language).startswith(code) for language in ("en", "zh"))
    return note


def codes(result: Generation) -> list[str]:
    return [note.code for note in result.notes]


def book(characters: int) -> str:
    draw = random.Random(3)
    words = [
        "the",
        "river",
        "bridge",
        "of",
        "and",
        "a",
        "town",
        "morning",
        "walked",
        "slowly",
        "people",
        "under",
        "old",
        "trees",
        "while",
        "nobody",
        "spoke",
        "until",
    ]
    paragraphs = []
    while sum(map(len, paragraphs)) + 2 * len(paragraphs) < characters:
        sentences = [" ".join(draw.choices(words, k=draw.randint(4, 14))) + "." for _ in range(draw.randint(1, 9))]
        paragraphs.append(" ".join(sentences))
    return "\n\n".join(paragraphs)[:characters]


def test_a_short_text_is_one_call_that_streams() -> None:
    pipeline = summarization(
        ["Here's a summary of the text:\n\nThe bridge in Aldersford is closed and costs 4 million euros."]
    )
    stream = pipeline.stream(text=SHORT)
    pieces = list(stream)
    assert len(pieces) > 3
    assert "".join(pieces) == stream.generation.text == "The bridge in Aldersford is closed and costs 4 million euros."
    assert stream.generation.notes == []


@pytest.mark.parametrize("length", ["sentence", "short", "paragraph", "bullets"])
def test_each_length_language_and_focus_reach_the_model(length: str) -> None:
    task, prompt = Summarization(), load_prompt("summarization")
    request = SummarizationRequest.model_validate(
        {"text": SHORT, "length": length, "language": "法语", "focus": "costs"}
    )
    asked = task.messages(request, prompt)[-1]["content"]
    assert SHORT in asked
    assert "French" in asked
    assert "costs." in asked
    other = "short" if length == "sentence" else "sentence"
    assert asked != task.messages(request.model_copy(update={"length": other}), prompt)[-1]["content"]


def test_a_long_text_is_read_whole_and_the_tree_accounts_for_it() -> None:
    text = book(600_000)
    pipeline = summarization()
    result = pipeline(text=text)
    assert result.text
    note = only(result, "map_reduce")
    tree = note.parameters["tree"]
    assert len(tree) == note.parameters["levels"] >= 3
    assert note.parameters["parts"] == len(tree[0]) > 50
    for level in tree:
        assert level[0][0] == 0
        assert level[-1][1] == len(text)
        assert all(one[1] == two[0] for one, two in pairwise(level))
    assert all(len(low) > len(high) for low, high in pairwise(tree))
    engine = pipeline.engine
    assert isinstance(engine, ScriptedEngine)
    read = "".join(call.request.text for call in engine.calls[: len(tree[0])])  # type: ignore[union-attr]
    assert read == text
    assert all(engine.count_tokens(call.request.text) <= CHUNK_TOKENS for call in engine.calls)  # type: ignore[union-attr]


def test_stream_call_and_batch_give_the_same() -> None:
    fields: list[Mapping[str, Any]] = [
        {"text": SHORT},
        {"text": book(30_000), "length": "bullets"},
        {"text": "Hello there."},
    ]
    for request, together in zip(fields, summarization().batch(fields), strict=True):
        stream = summarization().stream(**request)
        assert "".join(stream) == stream.generation.text == together.text == summarization()(**request).text
        assert stream.generation.notes == together.notes


class Unbounded(ScriptedEngine):
    """Repeats its input and keeps no limit, as a server may that ignores max_new_tokens."""

    def batch(self, calls: Sequence[Call], *_: Any) -> list[Completion]:
        return [Completion(call.request.text, 1, 1, "stop", 0.0, 0.0) for call in calls]  # type: ignore[union-attr]


def test_a_model_that_repeats_its_input_ends_with_everything_in_the_result() -> None:
    text = book(40_000)
    result = Pipeline(Summarization(), Unbounded(), load_prompt("summarization"))(text=text)
    assert result.text.split() == text.split()
    assert only(result, "reduce_joined").parameters["parts"] == only(result, "map_reduce").parameters["parts"]
    bounded = summarization(lambda call: call.request.text)(text=text)  # type: ignore[union-attr]
    assert len(bounded.text) < len(text)
    assert "reply_at_limit" in codes(bounded) or "reply_at_task_limit" in codes(bounded)  # what was cut is told


def test_silent_parts_are_named() -> None:
    def silent_first(call: Call) -> str:
        return "" if "zebra" in call.messages[-1]["content"] else first_words(call)

    text = "The zebra slept. " + book(12_000)
    note = only(summarization(silent_first)(text=text), "summary_part_empty")
    assert note.span is not None
    assert note.span[0] == 0
    result = summarization([""])(text=text)
    assert result.text == ""
    assert "summary_empty" in codes(result)


def test_what_the_source_lacks_is_listed() -> None:
    result = summarization(["The bridge in Aldersford costs 7 million euros, says Mayor Brown."])(text=SHORT)
    note = only(result, "summary_unsupported")
    assert note.parameters["numbers"] == ["7"]
    assert note.parameters["names"] == ["Mayor", "Brown"]
    assert "7, Mayor, Brown" in sentence(note)


def test_names_are_not_compared_across_languages() -> None:
    chinese = (
        "奥尔德斯福德镇的旧桥因裂缝于三月关闭，重建需要 4 百万欧元，只供行人使用。"
        "镇上的人们现在乘坐渡轮过河，渡轮免费。"
    )
    result = summarization([chinese])(text=SHORT, language="zh")
    assert "summary_unsupported" not in codes(result)
    assert "wrong_language" not in codes(result)
    assert only(summarization([chinese])(text=SHORT), "wrong_language").parameters["found"] == "zh"


def test_a_summary_that_is_longer_than_the_text_says_so() -> None:
    result = summarization(["It says hello to everybody who is there."])(text="Hello there.")
    assert only(result, "summary_longer_than_source").parameters["source_characters"] == 12


def counted(limit: int, then: Callable[[], None]) -> Callable[[], None]:
    left = [limit]

    def on_token() -> None:
        left[0] -= 1
        if left[0] == 0:
            then()

    return on_token


@pytest.mark.parametrize(("size", "tokens"), [(300, 4), (40_000, 30), (40_000, 100)])
def test_cancelling_in_the_middle_is_told(size: int, tokens: int) -> None:
    text = book(size)
    cancel = threading.Event()
    stream = summarization(on_token=counted(tokens, cancel.set)).stream(text=text, cancel=cancel)
    assert "".join(stream) == stream.generation.text
    assert stream.generation.finish_reason == "cancelled"
    assert only(stream.generation, "not_summarized").span == (0, len(text))


def test_a_deadline_ends_a_batch() -> None:
    pipeline = summarization(on_token=counted(20, lambda: time.sleep(0.2)))
    long, short = pipeline.batch([{"text": book(40_000), "deadline_s": 0.2}, {"text": SHORT}])
    assert long.finish_reason == "deadline"
    assert only(long, "not_summarized").span == (0, 40_000)
    assert short.finish_reason == "stop"
    assert short.text


def test_leaving_the_stream_early_is_told() -> None:
    stream = summarization(["One two three four five six seven."]).stream(text=SHORT)
    next(stream)
    stream.close()
    assert only(stream.generation, "not_summarized")


def test_a_small_context_gives_smaller_parts_and_a_tiny_one_is_refused() -> None:
    pipeline = summarization(context_length=400)
    assert pipeline(text=book(8_000)).text
    assert isinstance(pipeline.engine, ScriptedEngine)
    assert all(pipeline.engine.count_prompt(call.messages) < 400 for call in pipeline.engine.calls)
    with pytest.raises(InputError) as caught:
        summarization(context_length=60)(text=SHORT)
    assert caught.value.code == "prompt_too_long"


@pytest.mark.parametrize(
    "row",
    [
        {"source": SHORT, "target": "Closed."},
        {"document": SHORT, "summary": "Closed."},
        {"text": SHORT, "summary": "Closed."},
        {"article": SHORT, "highlights": "Closed.", "length": "sentence"},
    ],
)
def test_rows_become_requests(row: dict[str, Any]) -> None:
    request, reply = Summarization().from_row(row)
    assert (request.text, reply, request.length) == (SHORT, "Closed.", row.get("length", "short"))


def test_a_row_without_known_columns_names_both() -> None:
    with pytest.raises(InputError) as caught:
        Summarization().from_row({"body": SHORT})
    assert "body" in str(caught.value)
    assert "highlights" in str(caught.value)
