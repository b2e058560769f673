"""Calls to a server in tests: the engine on a faulty server, what is asked of it, what comes back.

A test file takes the fixtures by giving them their names: ``server = running_server``, ``waits = no_waits``.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from pipelines import CinquainError, Generation
from pipelines.engines import Call, Completion
from pipelines.engines.remote.engine import RemoteEngine
from pipelines.generation import GenerationOptions
from tests.doubles.faulty_server import FaultyServer, faulty_server

OPTIONS = GenerationOptions(max_new_tokens=50, temperature=0.7, top_p=0.9, seed=3)
QUESTION = Call([{"role": "user", "content": "Hello?"}], GenerationOptions(max_new_tokens=50, temperature=0.0))


@pytest.fixture
def running_server() -> Iterator[FaultyServer]:
    """A server for one test."""
    with faulty_server() as running:
        yield running


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which then take no time."""
    seconds: list[float] = []

    async def pause(wait: float) -> None:
        if wait > 0:
            seconds.append(wait)

    monkeypatch.setattr("pipelines.engines.remote.exchange.pause", pause)
    return seconds


def engine(server: FaultyServer, **options: Any) -> RemoteEngine:
    """The engine, which need not ask the server for the length of its context."""
    return RemoteEngine(server.reference, **{"context_length": 4096, **options})


def call(text: str = "Hello?", **options: Any) -> Call:
    """A question of a dialogue."""
    return Call([{"role": "user", "content": text}], OPTIONS.model_copy(update=options), "dialogue")


def ask(remote: RemoteEngine, question: Call | None = None) -> Completion:
    """The answer to one call, whose pieces make up its text."""
    *pieces, completion = remote.stream(question or call())
    assert isinstance(completion, Completion)
    assert "".join(map(str, pieces)) == completion.text
    return completion


def ask_question(remote: RemoteEngine) -> Completion:
    """The answer to ``QUESTION``."""
    *_, completion = remote.stream(QUESTION)
    assert isinstance(completion, Completion)
    return completion


def failure(remote: RemoteEngine) -> CinquainError:
    """The error that comes instead of an answer, as one sentence."""
    with pytest.raises(CinquainError) as raised:
        ask_question(remote)
    sentence = str(raised.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return raised.value


def codes(completion: Completion | Generation) -> list[str]:
    """Codes of the notes."""
    return [note.code for note in completion.notes]
