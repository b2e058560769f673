"""What a server says of its models, and what is known of it before and after it was asked."""

from collections.abc import Callable
from typing import Any

import pytest

from pipelines import InputError
from pipelines.engines import load_engine
from pipelines.engines.remote.engine import DEFAULT_CONTEXT_LENGTH, RemoteEngine
from tests.doubles.faulty_server import FaultyServer, Handler, status
from tests.doubles.remote_calls import ask, engine, running_server

server = running_server


@pytest.mark.parametrize(
    ("entry", "length"),
    [
        ({"max_model_len": 16384}, 16384),
        ({"context_length": 131072}, 131072),
        ({"providers": [{"context_length": 40960}, {"provider": "x"}, {"context_length": 32768}]}, 32768),
        ({}, DEFAULT_CONTEXT_LENGTH),
        ({"max_model_len": "many", "context_length": True}, DEFAULT_CONTEXT_LENGTH),
    ],
)
def test_the_length_of_the_context_is_what_the_server_says(
    server: FaultyServer, entry: dict[str, Any], length: int
) -> None:
    server.lists("other", "m", **entry)
    assert RemoteEngine(server.reference).context_length == length
    assert RemoteEngine(server.reference, context_length=999).context_length == 999


def test_llama_cpp_tells_the_length_elsewhere(server: FaultyServer) -> None:
    server.lists("m", owned_by="llamacpp", meta={"n_ctx_train": 131072})
    server.pages["/props"] = status(200, {"default_generation_settings": {"n_ctx": 6144}})
    assert RemoteEngine(server.reference).context_length == 6144


@pytest.mark.parametrize(
    "page", [status(500, "broken"), status(200, "<html>", "text/html"), status(200, "{"), status(200, [1, {"data": 2}])]
)
def test_a_list_that_cannot_be_read_is_no_failure(server: FaultyServer, page: Callable[[Handler], None]) -> None:
    server.pages["/v1/models"] = page
    assert RemoteEngine(server.reference).context_length == DEFAULT_CONTEXT_LENGTH


def test_the_only_model_needs_no_name(server: FaultyServer) -> None:
    server.lists("the-one", max_model_len=2048)
    remote = RemoteEngine(f"http://{server.host}")
    assert ask(remote).text == "Hello there."
    assert server.bodies[0]["model"] == "the-one"
    assert remote.provenance()["model"] == "the-one"


def test_several_models_need_a_name(server: FaultyServer) -> None:
    server.lists("small", "large")
    with pytest.raises(InputError, match=r"#MODEL.*small, large"):
        ask(RemoteEngine(f"http://{server.host}/v1"))


def test_nothing_is_sent_before_something_is_asked(server: FaultyServer) -> None:
    remote = load_engine(server.reference)
    assert remote.provenance() == {"engine": "remote", "server": f"http://{server.host}/v1", "model": "m"}
    assert server.asked == []


def test_provenance_names_what_the_server_says_that_answered(server: FaultyServer) -> None:
    remote = engine(server)
    ask(remote)
    assert remote.provenance()["served"] == ["served-model"]


def test_adapters_and_unknown_options_are_refused(server: FaultyServer) -> None:
    with pytest.raises(InputError, match="takes no adapter"):
        load_engine(server.reference, "an-adapter")
    with pytest.raises(InputError, match="concurrency"):
        load_engine(server.reference, concurency=3)
    for options in ({"concurrency": 0}, {"concurrency": 2.5}, {"first_token_s": float("nan")}, {"price_prompt": -1}):
        with pytest.raises(InputError, match=next(iter(options))):
            load_engine(server.reference, **options)
    assert load_engine(server.reference, concurrency="64", price_prompt="0.5")  # as the command line gives them
    with pytest.raises(InputError, match="takes no adapter"):
        engine(server).view("mine")
