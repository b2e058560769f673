"""The contract of pipelines and engines: call, stream and batch agree; every end has its reason."""

import gc
import json
import threading
import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import Generation, InputError, Pipeline, Prompt, load_prompt, pipeline
from pipelines.engines import Call, Completion
from pipelines.engines.scripted import ScriptedEngine
from pipelines.generation import GenerationOptions
from pipelines.requests import TaskRequest, Text
from pipelines.tasks.base import Step, Stopped, Task

PROMPT = Prompt(task="letters", version=3, templates={"user": "{{ text }}"})


class Request(TaskRequest):
    text: Text
    mode: str = "live"


class Letters(Task[Request]):
    """Each way of a task to answer: shown live, settled at the end, in two steps, with an error in the middle."""

    name = "letters"
    request_type = Request
    defaults = GenerationOptions(max_new_tokens=64, temperature=0.5, top_p=1.0, repetition_penalty=1.0)
    metrics = ()
    text_fields = ("text",)

    def fields_from_text(self, text):
        return {"text": text}

    def messages(self, request, prompt):
        return prompt.messages(request.model_dump())

    def parse(self, reply, request, *, complete=True):
        return reply.strip()

    def from_row(self, row):
        return Request(text=row["text"]), row["reply"]

    def steps(self, request, run):
        call = run.call(self.messages(request, run.prompt), request)
        if request.mode == "live":
            yield "> "
            yield Step([call], show=lambda reply, complete: self.parse(reply, request))
            yield "!"
        elif request.mode == "settled":
            yield " ".join(done.text for done in (yield Step([call, call])))
        elif request.mode == "fails":
            yield Step([call])
            raise InputError("text_empty", field="second")
        else:
            yield from self._in_two_steps(call, run)

    def _in_two_steps(self, call, run):
        try:
            (first,) = yield Step([call])
            yield first.text
            yield ""
            (second,) = yield Step([call])
            yield second.text
        except Stopped as stop:
            yield f"[{stop.completions[0].text}]"
            run.note("turns_dropped")
            yield Step([call])  # a stopped request gets no further step
        except GeneratorExit:
            run.note("role_leak")
            raise


def letters(script="one two three", **engine):
    script = [script] if isinstance(script, str) else script
    return Pipeline(Letters(), ScriptedEngine(script, **engine), PROMPT)


def codes(result):
    return [note.code for note in result.notes]


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
    result = letters("word " * 100, context_length=40)(text="x", max_new_tokens=60)
    assert codes(result) == ["reply_at_task_limit"]
    assert result.usage.completion_tokens < 60


def test_cancel_ends_within_one_token():
    stream = letters().stream(text="x")
    pieces = [next(stream), next(stream)]
    stream.cancel()
    pieces += list(stream)
    result = stream.generation
    assert "".join(pieces) == result.text == "> one"
    assert (result.finish_reason, codes(result)) == ("cancelled", ["reply_cancelled"])


def test_cancel_by_an_event_before_the_start():
    cancel = threading.Event()
    cancel.set()
    stream = letters().stream(text="x", mode="settled", cancel=cancel)
    assert list(stream) == []
    assert stream.generation.finish_reason == "cancelled"


def test_close_ends_a_stream_and_frees_the_engine():
    p = letters()
    stream = p.stream(text="x")
    next(stream)
    next(stream)
    stream.close()
    assert list(stream) == []
    assert stream.generation.text == "> one"
    assert codes(stream.generation) == ["reply_cancelled"]
    assert p(text="x").text == "> one two three!"


def test_a_stream_that_nobody_holds_any_more_frees_the_engine_at_once():
    gc.disable()  # or the collector might happen to free it
    try:
        engine = ScriptedEngine(["one two three four"])
        for piece in Pipeline(Letters(), engine, PROMPT).stream(text="x"):
            if "one" in piece:  # the model is at work
                break
        assert not engine._lock.locked()
    finally:
        gc.enable()


def test_close_before_the_first_piece():
    p = letters()
    stream = p.stream(text="x")
    stream.close()
    assert list(stream) == []
    assert stream.generation.finish_reason == "cancelled"
    assert p.engine.calls == []


def test_close_after_the_end_changes_nothing():
    stream = letters().stream(text="x")
    list(stream)
    stream.close()
    assert (stream.generation.finish_reason, stream.generation.notes) == ("stop", [])


def test_leaving_a_loop_lets_the_task_note_what_is_undone():
    with closing(letters().stream(text="x", mode="steps")) as stream:
        for _ in stream:
            break
    assert stream.generation.text == "one two three"
    assert codes(stream.generation) == ["role_leak", "reply_cancelled"]


def test_a_deadline_holds_for_all_steps_together():
    p = letters()
    result = p(text="x", mode="steps", deadline_s=60)
    first, second = p.engine.calls
    assert result.finish_reason == "stop"
    assert second.options.deadline_s < first.options.deadline_s < 60


@pytest.mark.parametrize("mode", ["live", "settled", "steps"])
def test_a_deadline_that_passes(mode):
    result = letters(on_token=lambda: time.sleep(0.002))(text="x", mode=mode, deadline_s=0.001)
    assert result.finish_reason == "deadline"
    assert codes(result)[-1] == "reply_at_deadline"


def test_a_stopped_task_may_settle_what_there_is():
    cancel = threading.Event()
    p = letters(on_token=lambda: len(p.engine.calls) == 2 and cancel.set())
    stream = p.stream(text="x", mode="steps", cancel=cancel)
    assert "".join(stream) == stream.generation.text == "one two three[]"
    assert codes(stream.generation) == ["turns_dropped", "reply_cancelled"]
    assert len(p.engine.calls) == 2


def test_a_batch_keeps_the_order():
    p = Pipeline(Letters(), ScriptedEngine(lambda call: call.request.text.upper()), PROMPT)
    modes = ["live", "settled", "steps", "live"]
    results = p.batch([{"text": f"t{index}", "mode": mode} for index, mode in enumerate(modes)], seed=1)
    assert [result.text for result in results] == ["> T0!", "T1 T1", "T2T2", "> T3!"]


def test_options_of_one_request_in_a_batch_count_for_it_alone():
    one, two = letters().batch([{"text": "x", "max_new_tokens": 1}, {"text": "x"}], max_new_tokens=2)
    assert (one.text, two.text) == ("> one!", "> one two!")


def test_a_batch_raises_before_anything_runs():
    p = letters()
    with pytest.raises(InputError):
        p.batch([{"text": "x"}, {"text": " "}])
    assert p.engine.calls == []


def test_a_batch_can_return_each_error_in_its_place():
    requests = [
        {"text": "a"},
        {"text": ""},
        "no mapping",
        {"text": "b", "mode": "fails"},
        {"text": "word " * 5000},
        {"text": "c"},
    ]
    results = letters().batch(requests, errors="return")
    assert [result.text if isinstance(result, Generation) else result.code for result in results] == [
        "> one two three!", "text_empty", "pipeline_fields_not_a_mapping", "text_empty", "prompt_too_long",
        "> one two three!",
    ]  # fmt: skip


def test_an_empty_batch():
    assert letters().batch([]) == []


def test_a_batch_can_be_cancelled():
    cancel = threading.Event()
    p = letters(on_token=lambda: len(p.engine.calls) == 2 and cancel.set())
    results = p.batch([{"text": "a", "mode": "settled"}, {"text": "b", "mode": "settled"}], cancel=cancel)
    assert [result.finish_reason for result in results] == ["cancelled", "cancelled"]


@pytest.mark.parametrize(("mode", "last"), [("live", (1, 1)), ("settled", (2, 2)), ("steps", (2, 2))])
def test_progress_counts_calls(mode, last):
    seen = []
    letters()(text="x", mode=mode, on_progress=lambda done, known: seen.append((done, known)))
    assert seen[-1] == last
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))


def test_progress_of_a_batch():
    seen = []
    letters().batch([{"text": "a"}, {"text": "b", "mode": "steps"}], on_progress=lambda *numbers: seen.append(numbers))
    assert seen == [(1, 2), (2, 2), (3, 3)]


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
