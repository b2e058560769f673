"""Pipelines where requests are many, or end early: by cancel, by close, by deadline, by an error."""

import gc
import threading
import time
from contextlib import closing

import pytest

from pipelines import Generation, InputError, Pipeline
from pipelines.engines.scripted import ScriptedEngine
from tests.doubles.letters import PROMPT, Letters, codes, letters


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
