"""Addresses and keys: a key goes to the host that it is named for, and comes out nowhere."""

import json
import logging
import pickle
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import CinquainError, InputError, pipeline
from pipelines.engines.remote.address import parse_address
from pipelines.engines.remote.engine import RemoteEngine
from pipelines.engines.remote.keys import MASK, key_for, keys_set, variable_for
from pipelines.errors import UnavailableError
from pipelines.wording import sentence
from tests.doubles.faulty_server import FaultyServer, Handler, faulty_server, refuses, reply, status
from tests.doubles.remote_calls import running_server

server = running_server

SECRET = "sk-very-secret-0123456789"
QUESTION = [{"role": "user", "content": "Hello?"}]


@pytest.fixture(autouse=True)
def no_other_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in [*keys_set(), "HUGGING_FACE_HUB_TOKEN"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("CINQUAIN_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def give_key(monkeypatch: pytest.MonkeyPatch, server: FaultyServer) -> str:
    name = variable_for(server.host)
    monkeypatch.setenv(name, SECRET)
    return name


def sent_keys(server: FaultyServer) -> list[str | None]:
    return [
        {name.lower(): value for name, value in asked.headers.items()}.get("authorization") for asked in server.asked
    ]


@pytest.mark.parametrize(
    ("reference", "base", "host", "model"),
    [
        ("https://api.openai.com/v1#gpt-x", "https://api.openai.com/v1", "api.openai.com", "gpt-x"),
        ("https://LLM.Example.org:443#a/b", "https://llm.example.org/v1", "llm.example.org", "a/b"),
        ("https://llm.example.org:8443/x/", "https://llm.example.org:8443/x", "llm.example.org:8443", None),
        ("http://localhost:8000/v1/chat/completions#m", "http://localhost:8000/v1", "localhost:8000", "m"),
        ("http://[::1]:8000/v1#m", "http://[::1]:8000/v1", "[::1]:8000", "m"),
        (" http://127.0.0.1/v1#/models/mine ", "http://127.0.0.1/v1", "127.0.0.1", "/models/mine"),
    ],
)
def test_addresses(reference: str, base: str, host: str, model: str | None) -> None:
    address = parse_address(reference)
    assert (address.base, address.host, address.model) == (base, host, model)
    assert address.reference == reference.strip()


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("http://llm.example.org/v1#m", "remote_plain_http"),
        ("http://127.0.0.1.example.org/v1#m", "remote_plain_http"),
        ("http://0.0.0.0:8000/v1#m", "remote_plain_http"),
        ("ftp://llm.example.org/v1#m", "remote_scheme"),
        ("https://user:hunter2secret@llm.example.org/v1#m", "remote_secret_in_address"),
        ("https://llm.example.org/v1?key=hunter2secret#m", "remote_secret_in_address"),
        ("https://api.openai.com\\@llm.example.org/v1?hunter2secret#m", "remote_secret_in_address"),
        ("https:///v1#m", "remote_address"),
        ("https://a..b/v1#m", "remote_address"),
        ("https://my host/v1#m", "remote_address"),
        ("https://host:99999/v1#m", "remote_address"),
        ("https://host:port/v1#m", "remote_address"),
        ("https://[::1/v1#m", "remote_address"),
        ("https://api.openai.com./v1#m", "remote_address"),
        ("://#", "remote_scheme"),
    ],
)
def test_addresses_that_are_refused_show_no_secret(reference: str, code: str) -> None:
    with pytest.raises(InputError) as raised:
        pipeline("dialogue", reference)
    assert raised.value.code == code
    assert "hunter2secret" not in repr(raised.value) + str(raised.value) + sentence(raised.value, "zh")


@pytest.mark.parametrize(
    ("variable", "reference", "refused"),
    [
        ("CINQUAIN_OFFLINE", "https://llm.example.org#m", True),
        ("CINQUAIN_OFFLINE", "http://localhost:1#m", False),
        ("HF_HUB_OFFLINE", "https://llm.example.org#m", False),
        ("HF_HUB_OFFLINE", "https://router.huggingface.co/v1#m", True),
        ("HF_HUB_OFFLINE", "https://x.us-east-1.aws.endpoints.huggingface.cloud#m", True),
    ],
)
def test_offline(variable: str, reference: str, refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    if refused:
        with pytest.raises(CinquainError, match=variable):
            parse_address(reference)
    else:
        parse_address(reference)


LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
HOSTS = st.tuples(st.lists(LABELS, min_size=1, max_size=4).map(".".join), st.sampled_from(["", ":8000"])).map("".join)


@given(HOSTS, HOSTS)
def test_two_hosts_share_no_variable(one: str, other: str) -> None:
    name = variable_for(one)
    assert name.removeprefix("CINQUAIN_KEY_").replace("_", "").isalnum()
    without_ports = ":" not in one + other  # a port looks like one more label, and no top-level domain is a number
    assert (variable_for(other) == name) == (one == other) or not without_ports


@pytest.mark.parametrize(
    ("variable", "host", "found"),
    [
        ("OPENAI_API_KEY", "api.openai.com", True),
        ("OPENAI_API_KEY", "api.openai.com:8443", False),
        ("OPENAI_API_KEY", "api.openai.com.example.org", False),
        ("OPENAI_API_KEY", "localhost:8000", False),
        ("GEMINI_API_KEY", "generativelanguage.googleapis.com", True),
        ("GEMINI_API_KEY", "storage.googleapis.com", False),
        ("HF_TOKEN", "router.huggingface.co", True),
        ("HF_TOKEN", "abc.eu-west-1.aws.endpoints.huggingface.cloud", True),
        ("HF_TOKEN", "endpoints.huggingface.cloud.example.org", False),
        ("HF_TOKEN", "huggingface.co.example.org", False),
        ("HF_TOKEN", "localhost:8000", False),
        ("CINQUAIN_KEY_LOCALHOST_8000", "localhost:8000", True),
        ("CINQUAIN_KEY_LOCALHOST_8000", "localhost:8001", False),
        ("CINQUAIN_KEY_LOCALHOST", "localhost:8000", False),
        ("CINQUAIN_KEY_MY__GATEWAY_EXAMPLE_ORG", "my-gateway.example.org", True),
        ("CINQUAIN_KEY_MY__GATEWAY_EXAMPLE_ORG", "my.gateway.example.org", False),
    ],
)
def test_which_key_belongs_to_which_host(
    variable: str, host: str, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f" {SECRET}\n")
    key = key_for(host)
    assert (key is not None) == found
    if key:
        assert (key.source, key.value) == (variable, SECRET)
        assert SECRET not in repr(key)
    assert keys_set() == [variable]


def test_the_doctor_shows_names_and_no_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from apps.cli.main import main

    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    main(["doctor", "--offline"])
    page = capsys.readouterr().out
    assert "OPENAI_API_KEY" in page
    assert SECRET not in page


def test_the_token_store_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "token").write_text(SECRET)
    key = key_for("router.huggingface.co")
    assert key is not None
    assert key.value == SECRET
    assert key_for("llm.example.org") is None


def test_a_key_that_no_header_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{SECRET}\nX-Other: 1")
    with pytest.raises(InputError, match="OPENAI_API_KEY") as raised:
        parse_address("https://api.openai.com#m")
    assert SECRET not in str(raised.value)


def test_the_key_is_sent_to_its_server_and_no_token_of_the_hub(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_tokenofthehub")
    pipeline("dialogue", server.reference)(messages=QUESTION)
    assert set(sent_keys(server)) == {None}
    give_key(monkeypatch, server)
    pipeline("dialogue", server.reference)(messages=QUESTION)
    assert sent_keys(server)[2:] == [f"Bearer {SECRET}"] * 2  # the list of models, the reply


def test_no_proxy_sees_what_is_sent_to_this_machine(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):  # the proxy itself is set for all tests, and nobody is there
        monkeypatch.delenv(name)
    assert pipeline("dialogue", server.reference)(messages=QUESTION).text == "Hello there."


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(server: FaultyServer, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    give_key(monkeypatch, server)
    with faulty_server() as other:
        target = f"http://{other.host}/v1/chat/completions"
        server.answers = [status(code, "", Location=target)]
        server.pages["/v1/models"] = status(code, "", Location=target)
        with pytest.raises(UnavailableError, match="not followed"):
            pipeline("dialogue", server.reference)(messages=QUESTION)
        assert other.asked == []
    assert len(server.bodies) == 1


def says_the_key(handler: Handler) -> None:
    refuses(400, f"What is {sent_keys(handler.server)[-1]}?")(handler)


def test_the_key_is_in_no_error(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = give_key(monkeypatch, server)
    caplog.set_level(logging.DEBUG)
    remote = RemoteEngine(server.reference)
    chat = pipeline("dialogue", server.reference)
    server.lists(SECRET, "quite-another")
    for answer, part in (
        (says_the_key, MASK),
        (refuses(401, f"Incorrect API key {SECRET}"), name),
        (refuses(404, f"nothing for {SECRET}"), f"{MASK}, quite-another"),
        (status(500, f"Bearer {SECRET}", "text/plain"), MASK),
    ):
        server.answers = [answer]
        with pytest.raises(CinquainError) as raised:
            pipeline("dialogue", server.reference, retries=0)(messages=QUESTION)
        error = raised.value
        assert part in str(error)
        shown = [str(error), repr(error), repr(error.parameters), *traceback.format_exception(error)]
        chain = [error.__cause__, error.__context__]
        shown += [repr(each) for each in chain] + [str(pickle.dumps(error))]
        assert SECRET not in "".join(shown)
    for holder in (remote, chat, remote.address, vars(remote)):
        assert SECRET not in repr(holder)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("pieces", [(SECRET,), (SECRET[:5], SECRET[5:]), tuple(SECRET), (f"a{SECRET}b{SECRET[:3]}",)])
def test_the_key_is_in_no_result(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch, pieces: tuple[str, ...]
) -> None:
    give_key(monkeypatch, server)

    def answer(handler: Handler) -> None:
        handler.begin()
        for piece in pieces:
            handler.text(piece)
        choice = {"delta": {"content": ""}, "finish_reason": "stop"}
        handler.event({"model": SECRET, "system_fingerprint": SECRET, "choices": [choice]})
        handler.chunk(b"")

    server.answers = [answer]
    stream = pipeline("dialogue", server.reference, context_length=4096).stream(messages=QUESTION)
    shown = "".join(stream)
    assert MASK in shown
    assert SECRET not in shown + json.dumps(stream.generation.to_json())


def test_words_that_stand_for_no_key_are_not_masked(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable_for(server.host), "EMPTY")  # what vLLM's own examples use
    server.answers = [reply("The box is EMPTY.")]
    assert pipeline("dialogue", server.reference)(messages=QUESTION).text == "The box is EMPTY."
    assert sent_keys(server)[-1] == "Bearer EMPTY"
