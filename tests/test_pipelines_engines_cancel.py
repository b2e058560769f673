"""What a request held is free again when it was cancelled: 200 of them leave no trace."""

import gc
import threading
from typing import Any

import psutil
import pytest

from pipelines.engines.base import Call, Completion, Engine
from pipelines.engines.local import LocalEngine
from pipelines.engines.runner import CONVERSATION_CAPACITY
from pipelines.generation import GenerationOptions
from tests.doubles.seq2seq_calls import Engines, run, translate
from tests.doubles.tiny import tiny_chat_model
from tests.test_pipelines_engines_local import load

LONG = "What colour is the sky? " * 60
"""Some 600 tokens: their states take 0.3 MB in the tiny model, and 200 requests that left theirs would take 60 MB."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    return load(tiny_chat_model(tmp_path_factory.mktemp("tiny")))


def asked(number: int, **settings: Any) -> Call:
    """A long question of its own."""
    options = GenerationOptions(max_new_tokens=50, temperature=0.0)
    return Call([{"role": "user", "content": f"{number} {LONG}"}], options, **settings)


def cancelled(engine: Engine, number: int, call: Call) -> None:
    """One request that is closed, or cancelled after its first token or before anything of it began."""
    cancel = threading.Event()
    if number % 3 == 0:
        cancel.set()
        assert engine.batch([call] * 3, cancel)[0].finish_reason == "cancelled"
        return
    items = engine.stream(call, cancel)
    next(items)
    if number % 3 == 1:
        items.close()
        return
    cancel.set()
    *_, last = items
    assert isinstance(last, Completion)
    assert last.finish_reason == "cancelled"


def resident() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


@pytest.mark.parametrize("goes_on", [False, True])
def test_200_cancelled_requests_leave_nothing(engine: LocalEngine, goes_on: bool) -> None:
    # Conversations are kept for their next turn, up to a limit: here to one that the first few already reach.
    engine._runner.conversations._capacity = 2**20
    try:
        for number in range(20):
            cancelled(engine, number, asked(number, goes_on=goes_on))
        before = resident()
        for number in range(20, 220):
            cancelled(engine, number, asked(number, goes_on=goes_on))
        assert resident() - before < 12 * 2**20
    finally:
        engine._runner.conversations._capacity = CONVERSATION_CAPACITY
        engine._runner.conversations.clear()
    assert engine.batch([Call([{"role": "user", "content": "Who are you?"}])])[0].text == "A tiny model."


def test_200_cancelled_translations_leave_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    engine = Engines(tmp_path_factory.getbasetemp())("marian", num_beams=1)
    text = "She reads a good book. The train is late today. " * 6
    for number in range(20):
        cancelled(engine, number, translate(f"{number} {text}"))
    before = resident()
    for number in range(20, 220):
        cancelled(engine, number, translate(f"{number} {text}"))
    assert resident() - before < 12 * 2**20
    assert run(engine, translate())[1].text == "Die Katze schläft."
