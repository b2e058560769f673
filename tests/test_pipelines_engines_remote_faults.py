"""What servers do wrong: each time one sentence, and never without end."""

import threading
from typing import Any

import pytest

from pipelines import CinquainError, InputError
from pipelines.engines.base import CallsFailedError
from pipelines.engines.remote.engine import RemoteEngine
from pipelines.engines.remote.transport import readable
from pipelines.errors import UnavailableError
from tests.doubles.faulty_server import Answer, FaultyServer, Handler, refuses, reply, silence, status
from tests.doubles.remote_calls import QUESTION, ask_question, engine, failure, running_server

server = running_server


REFUSALS = [
    (refuses(401, "no"), "remote_key_missing", UnavailableError, "CINQUAIN_KEY_127_0_0_1"),
    (refuses(402, "pay first"), "remote_quota", UnavailableError, "pay first"),
    (refuses(403, "gated model"), "remote_forbidden", UnavailableError, "gated model"),
    (refuses(400, "say please"), "remote_refused", CinquainError, "say please"),
    (refuses(418, "teapot"), "remote_refused", CinquainError, "HTTP 418"),
    (refuses(429, "You exceeded your quota", code="insufficient_quota"), "remote_quota", UnavailableError, "exceeded"),
    (refuses(400, "This model's maximum context length is 4096 tokens, max_tokens is too large"),
     "remote_too_long", InputError, "4096"),
    (refuses(400, "request exceeds the available context size (2048 tokens)"), "remote_too_long", InputError, "2048"),
    (refuses(400, "The input token count (9) exceeds the maximum"), "remote_too_long", InputError, "context_length"),
    (status(413, "too big", "text/plain"), "remote_too_long", InputError, "too big"),
    (status(200, "<html><b>Welcome", "text/html"), "remote_wrong_type", UnavailableError, "text/html"),
    (status(200, {"choices": []}), "remote_wrong_type", UnavailableError, "application/json"),
    (status(200, "", "text/event-stream", Content_Encoding="gzip"), "remote_wrong_type", UnavailableError, "stream"),
    (status(500, "<html>" + "x" * 99, "text/html"), "remote_failed", CinquainError, "(HTTP 500; it says: -)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "code", "kind", "part"), REFUSALS, ids=[f"{each[1]}-{each[3]}" for each in REFUSALS]
)
def test_refusals(server: FaultyServer, answer: Answer, code: str, kind: type, part: str) -> None:
    server.answers = [answer]
    error = failure(engine(server, retries=0))
    assert error.code == code
    assert type(error) is kind
    assert part in str(error)
    assert len(server.bodies) == 1


def test_one_forbidden_text_does_not_stop_the_others(server: FaultyServer) -> None:
    server.answers = [reply("Hello."), refuses(403, "your input was flagged")]
    remote = engine(server)
    ask_question(remote)
    assert type(failure(remote)) is CinquainError


def test_an_unknown_model_comes_with_the_names_that_are_near(server: FaultyServer) -> None:
    server.answers = [refuses(404, "The model `m` does not exist.")]
    server.lists("mm", "quite-another", "a\x1b[31mb")
    error = failure(engine(server))
    assert error.code == "remote_not_found"
    assert error.parameters["names"] == ["mm"]
    server.lists("\x1b[31mred")
    assert failure(engine(server)).parameters["names"] == ["[31mred"]


def garbage(*events: Any) -> Answer:
    def answer(handler: Handler) -> None:
        handler.begin()
        for event in events:
            handler.event(event)
        handler.chunk(b"")

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        garbage(b"{not json"),
        garbage(b"[1, 2]"),
        garbage(b"null"),
        garbage({"choices": "none"}),
        garbage({"choices": [17]}),
        garbage({"choices": [{"delta": {"content": ["a", "list"]}}]}),
        garbage({"choices": [{"delta": "x"}]}),
        garbage({"choices": [], "usage": {"prompt_tokens": "many"}}),
        garbage(b"\xff\xfe\x00"),
    ],
)
def test_garbage_is_not_asked_for_again(server: FaultyServer, answer: Answer) -> None:
    server.answers = [answer]
    assert failure(engine(server)).code == "remote_garbage"
    assert len(server.bodies) == 1


def endless(head: dict[str, Any], piece: bytes) -> Answer:
    def answer(handler: Handler) -> None:
        handler.begin(**head)
        while True:  # until the client closes the connection
            handler.chunk(piece)

    return answer


ENDLESS = {
    "blob": ("MAX_LINE", endless({}, b"x" * 50_000)),
    "event": ("MAX_LINE", endless({}, b"data: " + b"x" * 50_000)),
    "comments": ("MAX_BODY", endless({}, b": nothing\n" * 5_000)),
    "reply": ("MAX_BODY", endless({}, b'data: {"choices": [{"delta": {"content": "and "}}]}\n\n' * 1_000)),
}


@pytest.mark.parametrize("body", ENDLESS)
def test_endless_bodies_end(server: FaultyServer, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = {"MAX_LINE": 2**60, "MAX_BODY": 2**60, ENDLESS[body][0]: 200_000}
    for name, bound in bounds.items():
        monkeypatch.setattr(f"pipelines.engines.remote.transport.{name}", bound)
    server.answers = [ENDLESS[body][1]]
    assert failure(engine(server)).code == "remote_endless"
    assert server.gone.wait(5)


def test_endless_errors_and_lists_end(server: FaultyServer) -> None:
    server.answers = [endless({"code": 400, "kind": "text/plain"}, b"no \x1b[31m" * 1_000)]
    error = failure(engine(server))
    assert len(str(error)) < 600
    assert "\x1b" not in str(error)
    assert server.gone.wait(5)
    server.pages["/v1/models"] = endless({"kind": "application/json"}, b"[" * 50_000)
    assert RemoteEngine(server.reference).context_length > 0


def one_word_then_silence(handler: Handler) -> None:
    handler.begin()
    handler.text("One")
    handler.wait_until_gone()


def words_without_end(handler: Handler) -> None:
    handler.begin()
    while True:
        handler.text("word ")
        handler.server.gone.wait(0.01)


@pytest.mark.parametrize(
    ("answer", "limit", "code"),
    [
        (silence, "first_token_s", "remote_slow_start"),
        (Handler.wait_until_gone, "first_token_s", "remote_slow_start"),
        (one_word_then_silence, "between_tokens_s", "remote_slow_middle"),
        (words_without_end, "total_s", "remote_slow_whole"),
    ],
)
def test_patience_ends(server: FaultyServer, answer: Answer, limit: str, code: str) -> None:
    server.answers = [answer]
    error = failure(engine(server, **{limit: 0.2}))
    assert error.code == code
    assert limit in str(error)
    assert server.gone.wait(5)


def test_none_of_many_failures_leaves_a_thread(server: FaultyServer) -> None:
    server.answers = [garbage(b"{"), refuses(400, "no"), reply("Once", finish=None)]
    for _ in range(3):
        failure(engine(server))
    server.answers = [refuses(400, "no")]
    with pytest.raises(CallsFailedError):
        engine(server).batch([QUESTION] * 20)
    assert "cinquain-remote" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('{"error": {"message": "Be\\nquick"}}', "Be quick"),
        ('[{"error": {"code": 400, "message": "Gemini says no"}}]', "Gemini says no"),
        ('{"detail": [{"loc": ["body"], "msg": "field required"}]}', "field required"),
        ('{"object": "error", "message": "vLLM says no"}', "vLLM says no"),
        ('{"error": "plain"}', "plain"),
        ("not json \u202e\x07 at all", "not json at all"),
        ("[" * 100_000, "[" * 299 + "…"),
    ],
)
def test_messages_of_many_shapes(body: str, shown: str) -> None:
    assert readable(body) == shown
