"""The contract of pipelines and engines: call, stream and batch agree, and say what they did."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import InputError, Pipeline, load_prompt, pipeline
from pipelines.engines import Call, Completion
from pipelines.engines.scripted import ScriptedEngine
from pipelines.generation import GenerationOptions
from tests.doubles.letters import PROMPT, Letters, Request, codes, letters


@given(
    st.lists(st.sampled_from(["a", " b", "\n", "  ", "雨", "c."]), max_size=12).map("".join),
    st.sampled_from(["live", "settled", "steps"]),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([(), ("b",), ("雨c", "\n")]),
)
def test_call_stream_and_batch_agree(reply, mode, limit, stop):
    options = {"max_new_tokens": limit, "stop": stop, "seed": 1}
    stream = letters(reply).stream(text="x", mode=mode, **options)
    pieces = list(stream)
    called = letters(reply)(text="x", mode=mode, **options)
    (batched,) = letters(reply).batch([{"text": "x", "mode": mode}], **options)
    assert all(pieces)
    assert "".join(pieces) == stream.generation.text == called.text == batched.text
    assert stream.generation.notes == called.notes == batched.notes
    assert stream.generation.finish_reason == called.finish_reason == batched.finish_reason
    assert stream.generation.usage == called.usage == batched.usage


def test_a_stream_shows_text_before_the_reply_is_complete():
    stream = letters().stream(text="x")
    assert [next(stream), next(stream)] == ["> ", "one"]
    assert stream.generation.text == "> one"
    assert list(stream) == [" two", " three", "!"]


def test_what_a_generation_says():
    result = letters()(text="x", mode="settled", seed=5)
    assert (result.task, result.model, result.text) == ("letters", "scripted", "one two three one two three")
    assert result.usage.completion_tokens == 6
    assert result.usage.prompt_tokens > 0
    assert 0 <= result.timing.first_token_s <= result.timing.total_s
    assert result.timing.tokens_per_s > 0
    assert result.provenance["prompt_version"] == 3
    assert len(result.provenance["prompt_sha256"]) == 64
    assert result.provenance["environment"]["cinquain"]
    assert result.provenance["environment"]["cores"] > 0
    plain = json.loads(json.dumps(result.to_json()))
    assert plain["schema_version"] == 1
    assert plain["finish_reason"] == "stop"


def test_options_are_parted_from_fields_and_lie_over_the_defaults():
    p = letters()
    p(text="x", temperature=0.9, stop=["q"])
    (call,) = p.engine.calls
    assert call.request == Request(text="x")
    assert (call.options.temperature, call.options.stop, call.options.max_new_tokens) == (0.9, ("q",), 64)


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"txt": "x"}, "field_unknown", "text"),
        ({"text": "x", "temprature": 1}, "field_unknown", "temperature"),
        ({}, "field_missing", "text"),
        ({"text": "x", "temperature": -1}, "field_invalid", "temperature"),
        ({"text": "x", "max_new_tokens": 0}, "field_invalid", "max_new_tokens"),
        ({"text": "x", "seed": 2**70}, "field_invalid", "seed"),
        ({"text": "word " * 5000}, "prompt_too_long", "4096"),
    ],
)
def test_wrong_requests_never_reach_the_engine(fields, code, words):
    p = letters()
    with pytest.raises(InputError, match=words) as caught:
        p(**fields)
    assert caught.value.code == code
    assert p.engine.calls == []


def test_a_seed_is_drawn_reported_and_repeats():
    p = letters()
    seed = p(text="x").provenance["options"]["seed"]
    assert p.engine.calls[0].options.seed == seed
    assert p(text="x", seed=seed).provenance["options"]["seed"] == seed
    assert "seed" not in p(text="x", temperature=0).provenance["options"]


def test_a_reply_at_its_limit():
    result = letters()(text="x", max_new_tokens=2)
    assert (result.text, result.finish_reason) == ("> one two!", "length")
    assert [note.parameters for note in result.notes if note.code == "reply_at_limit"] == [{"tokens": 2}]


def test_a_limit_that_the_context_lowered_is_told_apart():
    words = " ".join(f"word{number}" for number in range(100))
    result = letters(words, context_length=40)(text="x", max_new_tokens=60)
    assert codes(result) == ["reply_at_task_limit"]
    assert result.usage.completion_tokens < 60


def test_a_task_that_takes_back_what_it_showed_is_a_bug_that_shows():
    class Fickle(Letters):
        def parse(self, reply, request, *, complete=True):
            return reply[::-1]

    with pytest.raises(AssertionError, match="letters showed"):
        Pipeline(Fickle(), ScriptedEngine(["one two"]), PROMPT)(text="x")


def test_the_prompt_hash_follows_prompt_and_chat_template():
    p = letters()
    before = p(text="x").provenance["prompt_sha256"]
    p.engine.chat_template = "another"
    assert p(text="x").provenance["prompt_sha256"] != before


@given(
    st.lists(st.sampled_from("ab雨 \n."), max_size=20).map("".join), st.lists(st.sampled_from(["ab", "b.", "雨", " "]))
)
def test_the_scripted_engine_streams_what_its_completion_holds(reply, stop):
    call = Call([{"role": "user", "content": "x"}], GenerationOptions(stop=tuple(stop), max_new_tokens=15))
    *pieces, completion = ScriptedEngine([reply]).stream(call)
    assert isinstance(completion, Completion)
    assert "".join(pieces) == completion.text
    assert reply.startswith(completion.text)
    assert not any(mark in completion.text for mark in stop)
    assert ScriptedEngine([reply]).batch([call])[0].text == completion.text


def test_scripts_by_task_in_turn_and_computed():
    call = Call([{"role": "user", "content": "hi"}], task="letters")
    assert ScriptedEngine({"letters": "by name"}).batch([call])[0].text == "by name"
    assert [done.text for done in ScriptedEngine(["a", "b"]).batch([call] * 3)] == ["a", "b", "b"]
    assert ScriptedEngine(lambda call: call.messages[0]["content"]).batch([call])[0].text == "hi"


def test_pipeline_by_name():
    p = pipeline("dialogue", model="scripted")
    assert p(messages=[{"role": "user", "content": "Hi"}]).text == "You said: Hi"
    assert pipeline(Letters(), model="scripted", prompt=PROMPT)(text="x").text == "> You said: x!"
    assert p.wording()[1] == load_prompt("dialogue")
    with pytest.raises(InputError, match="dialogue") as caught:
        pipeline("dialog")
    assert caught.value.code == "task_unknown"
