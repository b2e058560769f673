"""What is asked for again, after which wait, and what is not: busy servers, broken replies, nobody there."""

import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines import CinquainError, pipeline
from pipelines.engines.remote.address import parse_address
from pipelines.engines.remote.engine import RemoteEngine
from pipelines.engines.remote.errors import failure_of, seconds_until
from pipelines.engines.remote.payload import Known
from pipelines.engines.remote.transport import http_library, open_client, trusted_certificates
from pipelines.errors import UnavailableError
from tests.doubles.faulty_server import Answer, FaultyServer, Handler, faulty_server, refuses, reply, status
from tests.doubles.remote_calls import QUESTION, ask_question, engine, failure, no_waits, running_server

server = running_server
waits = no_waits


def garbage(*events: Any) -> Answer:
    def answer(handler: Handler) -> None:
        handler.begin()
        for event in events:
            handler.event(event)
        handler.chunk(b"")

    return answer


def cut_after(*pieces: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.begin()
        handler.text(None, role="assistant")
        for piece in pieces:
            handler.text(piece)
        handler.cut()

    return answer


def cut_before_the_head(handler: Handler) -> None:
    handler.close_connection = True


@pytest.mark.parametrize(
    "broken",
    [
        cut_after(),
        cut_before_the_head,
        garbage(),
        garbage({"error": {"message": "out of memory"}}),
        refuses(500, "oops"),
    ],
)
def test_what_breaks_before_the_first_token_is_asked_for_again(
    server: FaultyServer, waits: list[float], broken: Answer
) -> None:
    server.answers = [broken, broken, reply("Hello.")]
    completion = ask_question(engine(server, backoff_s=2.0))
    assert completion.text == "Hello."
    assert [(note.code, note.parameters["times"]) for note in completion.notes] == [("remote_retried", 3)]
    assert 1 <= waits[0] <= 2 <= waits[1] <= 4


def test_what_breaks_after_text_was_shown_is_not(server: FaultyServer, waits: list[float]) -> None:
    server.answers = [cut_after("Once ", "upon"), reply("Twice.")]
    pieces: list[Any] = []
    with pytest.raises(CinquainError, match="ended the connection") as raised:
        pieces.extend(engine(server).stream(QUESTION))
    assert (pieces, raised.value.code) == (["Once ", "upon"], "remote_cut")
    assert len(server.bodies) == 1
    assert waits == []


def test_in_a_batch_nothing_was_shown(server: FaultyServer, waits: list[float]) -> None:
    server.answers = [cut_after("Once ", "upon"), reply("Twice.")]
    (completion,) = engine(server).batch([QUESTION])
    assert completion.text == "Twice."


def test_a_reply_without_an_end_is_cut_even_where_the_connection_closes_well(server: FaultyServer) -> None:
    server.answers = [reply("Once ", finish=None, usage=None)]
    assert failure(engine(server)).code == "remote_cut"


def test_a_connection_lost_after_the_end_loses_nothing(server: FaultyServer) -> None:
    def answer(handler: Handler) -> None:
        handler.begin()
        handler.text("All of it.", "stop")
        handler.cut()

    server.answers = [answer]
    completion = ask_question(engine(server))
    assert completion.text == "All of it."
    assert [note.code for note in completion.notes] == ["remote_usage_estimated"]


@pytest.mark.parametrize(("code", "kind"), [(429, UnavailableError), (503, UnavailableError), (500, CinquainError)])
def test_it_gives_up(server: FaultyServer, waits: list[float], code: int, kind: type) -> None:
    server.answers = [refuses(code, "not now")]
    error = failure(engine(server, retries=2))
    assert type(error) is kind
    assert "not now" in str(error)
    assert len(server.bodies) == 3
    assert len(waits) == 2


def test_retry_after_in_seconds_is_kept_to(server: FaultyServer, waits: list[float]) -> None:
    server.answers = [status(429, {"error": "slow"}, Retry_After="7"), reply("Hi.")]
    assert ask_question(engine(server, backoff_s=0.01)).text == "Hi."
    assert waits[0] == 7
    assert all(6 < wait <= 7 for wait in waits)


def test_retry_after_as_a_date_is_kept_to(server: FaultyServer, waits: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    server.answers = [status(503, "", Retry_After=date), reply("Hi.")]
    assert ask_question(engine(server, backoff_s=0.01)).text == "Hi."
    assert 25 < waits[0] <= 30


def test_other_calls_wait_as_well(server: FaultyServer, waits: list[float]) -> None:
    server.answers = [status(429, "", Retry_After="20"), reply("Hi.")]
    engine(server, concurrency=1, backoff_s=0.01).batch([QUESTION, QUESTION])
    assert len([wait for wait in waits if wait > 15]) == 3  # after the refusal, and before each of two requests


def test_a_wait_without_measure_is_not_begun(server: FaultyServer, waits: list[float]) -> None:
    server.answers = [status(429, {"error": "tomorrow"}, Retry_After="86400")]
    assert failure(engine(server)).code == "remote_busy"
    assert waits == []


@pytest.mark.parametrize("header", ["", "soon", "-3", "1e99999", "Wed, 99 Foo 2026", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_nonsense_and_the_past_mean_no_wait(header: str) -> None:
    assert seconds_until(header) == 0


def test_nobody_at_the_address(waits: list[float]) -> None:
    with faulty_server() as server:
        reference = server.reference
    error = failure(RemoteEngine(reference))  # while it looks for the length of the context
    assert type(error) is UnavailableError
    assert "Connection refused" in str(error)
    assert failure(RemoteEngine(reference, context_length=4096)).code == "remote_unreachable"
    assert waits == []  # a wrong address stays wrong


def test_rows_do_not_each_wait_for_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(
        "pipelines.engines.remote.engine.open_client", lambda *given: opened.append(1) or open_client(*given)
    )
    with faulty_server() as server:
        reference = server.reference
    rows = [{"messages": [{"role": "user", "content": "Hi"}]}] * 9
    outcomes = pipeline("dialogue", reference).batch(rows, errors="return")
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 9
    assert len(opened) == 1


def test_a_server_that_is_starting_again_is_waited_for(waits: list[float]) -> None:
    with faulty_server() as server:
        remote = engine(server, retries=3)
        ask_question(remote)
    assert failure(remote).code == "remote_unreachable"
    assert len(waits) == 3


def test_a_name_that_nobody_has(network_attempts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name)
    error = failure(RemoteEngine("https://llm.example.invalid/v1#m"))
    assert error.code == "remote_unreachable"
    assert "llm.example.invalid" in str(error)
    assert "llm.example.invalid" in "".join(network_attempts)
    network_attempts.clear()


def test_https_where_only_http_is_spoken(server: FaultyServer) -> None:
    error = failure(RemoteEngine(server.reference.replace("http:", "https:")))
    assert error.code == "remote_unreachable"


def test_a_certificate_must_be_trusted(server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs openssl: apt-get install openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    line = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    name = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([program, *line.split(), *name], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    reference = server.reference.replace("http:", "https:")
    error = failure(RemoteEngine(reference))
    assert error.code == "remote_certificate"
    assert "SSL_CERT_FILE" in str(error)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    trusted_certificates.cache_clear()
    try:
        assert ask_question(RemoteEngine(reference)).text == "Hello there."
    finally:
        trusted_certificates.cache_clear()


def test_a_certificate_that_proves_nothing() -> None:
    refused = http_library().ConnectError("certificate verify failed: self-signed certificate")
    refused.__cause__ = ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")
    found = failure_of(refused, parse_address("https://llm.example.org#m"), Known())
    assert (found.error.code, found.again) == ("remote_certificate", False)
    assert "self-signed" in str(found.error)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SSL_CERT_FILE", __file__), ("SSL_CERT_FILE", "nowhere.pem"), ("HTTPS_PROXY", "socks9://user:hunter2@host:1")],
)
def test_settings_of_the_environment_that_cannot_be_used(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("https_proxy")  # the two spellings are one setting
    monkeypatch.setenv(variable, value)
    trusted_certificates.cache_clear()
    error = failure(RemoteEngine("https://llm.example.invalid#m", context_length=4096))
    assert error.code == "remote_settings"
    assert variable in str(error)
    assert "hunter2" not in str(error)
    trusted_certificates.cache_clear()
