"""Many calls to a server at once; and how calls end early: by cancel, by deadline, by leaving."""

import threading
from typing import Any

import psutil
import pytest

from pipelines import CinquainError, Generation, pipeline
from pipelines.engines import Completion
from pipelines.engines.base import CallsFailedError
from pipelines.errors import UnavailableError
from tests.doubles.faulty_server import FaultyServer, Handler, echo, refuses, silence
from tests.doubles.remote_calls import ask, call, codes, engine, no_waits, running_server

server = running_server
waits = no_waits


def test_a_batch_keeps_its_order_and_its_bound(server: FaultyServer) -> None:
    together, active, most = threading.Barrier(4), 0, 0

    def answer(handler: Handler) -> None:
        nonlocal active, most
        with server.lock:
            active += 1
            most = max(most, active)
        together.wait(10)  # passes only when four calls are here at once
        with server.lock:
            active -= 1
        echo(handler)

    server.answers = [answer]
    ended: list[int] = []
    questions = [f"question {number}" for number in range(12)]
    completions = engine(server, concurrency=4).batch(
        list(map(call, questions)), on_done=lambda place, _: ended.append(place)
    )
    assert [completion.text for completion in completions] == questions
    assert sorted(ended) == list(range(12))
    assert most == 4


def refuse_the_second(handler: Handler) -> None:
    second = "number 1" in handler.asked.body["messages"][-1]["content"]
    (refuses(400, "This text is not to our liking.") if second else echo)(handler)


def test_one_refused_call_costs_the_others_nothing(server: FaultyServer) -> None:
    server.answers = [refuse_the_second]
    with pytest.raises(CallsFailedError, match="not to our liking") as failed:
        engine(server).batch([call(f"number {number}") for number in range(4)])
    outcomes = failed.value.outcomes
    assert [getattr(outcome, "text", None) for outcome in outcomes] == ["number 0", None, "number 2", "number 3"]
    assert isinstance(outcomes[1], CinquainError)


def test_one_refused_request_of_a_pipeline_costs_the_others_nothing(server: FaultyServer) -> None:
    server.answers = [refuse_the_second]
    chat = pipeline("dialogue", server.reference, context_length=4096)
    requests = [{"messages": [{"role": "user", "content": f"number {number}"}]} for number in range(3)]
    first, second, third = chat.batch(requests, errors="return")
    assert isinstance(first, Generation)
    assert isinstance(third, Generation)
    assert (first.text, third.text) == ("number 0", "number 2")
    assert isinstance(second, CinquainError)
    assert second.code == "remote_refused"
    with pytest.raises(CinquainError, match="not to our liking"):
        chat.batch(requests)


def test_a_server_that_cannot_be_used_is_asked_no_more(server: FaultyServer, waits: list[float]) -> None:
    server.answers = [echo, echo, refuses(401, "no")]
    with pytest.raises(CallsFailedError) as failed:
        engine(server, concurrency=1).batch([call(f"number {number}") for number in range(9)])
    kinds = [type(outcome) for outcome in failed.value.outcomes]
    assert kinds == [Completion] * 2 + [UnavailableError] * 7
    assert len(server.bodies) == 3


def test_rows_of_a_file_wait_for_a_server_that_is_down(
    server: FaultyServer, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from apps.cli.main import main

    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text("".join(f'{{"text": "Row number {number}.", "target": "fr"}}\n' for number in range(5)))
    line = ["run", "translation", "--input", str(rows), "--output", str(out), "--model", server.reference]
    server.answers = [echo, refuses(400, "This row is bad."), refuses(401, "no")]
    assert main([*line, "--batch-size", "1"]) == 1
    assert "asks for a key" in capsys.readouterr().err
    assert ["error" in row for row in out.read_text().splitlines()] == [False, True]
    server.answers = [echo]
    assert main(line) == 0
    assert ["error" in row for row in out.read_text().splitlines()] == [False, True, False, False, False]


def cancel_when(event: threading.Event) -> threading.Event:
    """Is set as soon as the event is."""
    cancel = threading.Event()
    threading.Thread(target=lambda: event.wait(10) and cancel.set(), daemon=True).start()
    return cancel


def test_cancel_before_the_first_token_closes_the_connection(server: FaultyServer) -> None:
    server.answers = [silence]
    (completion,) = engine(server).stream(call(), cancel_when(server.arrived))
    assert isinstance(completion, Completion)
    assert (completion.text, completion.finish_reason) == ("", "cancelled")
    assert server.gone.wait(5)


def two_words_then_silence(handler: Handler) -> None:
    handler.begin()
    handler.text("One ")
    handler.text("two")
    handler.wait_until_gone()


def test_cancel_between_tokens_closes_the_connection_and_keeps_the_text(server: FaultyServer) -> None:
    server.answers = [two_words_then_silence]
    cancel, pieces = threading.Event(), []
    for item in engine(server).stream(call(), cancel):
        pieces.append(item)
        if item == "two":
            cancel.set()
    completion = pieces[-1]
    assert isinstance(completion, Completion)
    assert (completion.text, completion.finish_reason) == ("One two", "cancelled")
    assert codes(completion) == ["remote_usage_estimated"]
    assert server.gone.wait(5)


def test_leaving_a_stream_closes_the_connection(server: FaultyServer) -> None:
    server.answers = [two_words_then_silence]
    stream = engine(server).stream(call())
    assert next(stream) == "One "
    stream.close()
    assert server.gone.wait(5)


def test_many_cancelled_requests_leave_nothing_open(server: FaultyServer) -> None:
    server.answers = [two_words_then_silence]
    remote = engine(server)

    def leave() -> int:
        stream = remote.stream(call())
        assert next(stream) == "One "
        server.gone.clear()
        stream.close()
        assert server.gone.wait(5)
        return len(psutil.Process().net_connections())

    first = leave()
    assert max(leave() for _ in range(50)) <= first + 2
    assert "cinquain-remote" not in [thread.name for thread in threading.enumerate()]


def test_cancelling_a_batch_keeps_what_is_done(server: FaultyServer) -> None:
    server.answers = [echo, silence]
    cancel = threading.Event()
    completions = engine(server, concurrency=1).batch(
        [call("done"), call("under way"), call("not begun")], cancel, lambda *_: cancel.set()
    )
    assert [completion.finish_reason for completion in completions] == ["stop", "cancelled", "cancelled"]
    assert completions[0].text == "done"
    assert len(server.bodies) <= 2


def test_what_is_cancelled_before_it_begins_is_not_sent(server: FaultyServer) -> None:
    cancel = threading.Event()
    cancel.set()
    remote = engine(server)
    assert [item.finish_reason for item in remote.stream(call(), cancel) if isinstance(item, Completion)] == [
        "cancelled"
    ]
    assert remote.batch([call()], cancel)[0].finish_reason == "cancelled"
    assert server.asked == []


def test_a_deadline_ends_a_reply_with_what_there_is(server: FaultyServer) -> None:
    server.answers = [two_words_then_silence]
    completion = ask(engine(server), call(deadline_s=0.3))
    assert (completion.text, completion.finish_reason) == ("One two", "deadline")
    assert server.gone.wait(5)


def test_a_deadline_counts_the_wait_for_ones_turn(server: FaultyServer) -> None:
    server.answers = [silence]
    first, second = engine(server, concurrency=1).batch([call(deadline_s=0.2)] * 2)
    assert (first.finish_reason, second.finish_reason) == ("deadline", "deadline")
    assert len(server.bodies) == 1


def test_cancel_and_deadline_end_the_wait_between_two_tries(server: FaultyServer) -> None:
    server.answers = [refuses(429, "slow down")]
    remote = engine(server, backoff_s=60)
    (completion,) = remote.stream(call(), cancel_when(server.arrived))
    assert isinstance(completion, Completion)
    assert completion.finish_reason == "cancelled"
    assert ask(remote, call(deadline_s=0.1)).finish_reason == "deadline"
