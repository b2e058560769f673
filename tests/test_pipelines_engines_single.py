"""The token loop for one reply: guesses change nothing but the speed, conversations go on where they ended."""

import threading
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines import Pipeline, pipeline
from pipelines.engines.base import Call
from pipelines.engines.cache import PrefixCache, new_cache
from pipelines.engines.conversations import Conversation, Conversations
from pipelines.engines.local import LocalEngine
from pipelines.engines.lookup import ALLOWANCE, LONGEST, MOST, PRICE, START, Lookup
from pipelines.engines.prefill import shares_beginnings
from pipelines.engines.sampling import Sampler
from pipelines.engines.single import decode_one
from pipelines.generation import GenerationOptions
from tests.doubles.tiny import tiny_chat_model
from tests.test_pipelines_engines_decoding import ARCHITECTURES, END, collected, prompts, tiny_model

GROWING = [name for name in ARCHITECTURES if name in {"Llama", "Qwen3", "Phi3", "GPT2", "GPTNeoX"}]


class Counted:
    """A model that counts its passes."""

    def __init__(self, model: Any) -> None:
        self.model, self.config, self.device, self.forward = model, model.config, model.device, model.forward
        self.rows: list[int] = []

    def __call__(self, **inputs: Any) -> Any:
        self.rows.append(inputs["input_ids"].shape[1])
        return self.model(**inputs)


def one(model: Any, prompt: list[int], limit: int, lookup: bool, **sampling: Any) -> list[int]:
    options = GenerationOptions(**{"temperature": 0.0, **sampling})
    sampler = Sampler.for_calls([options], [END], model.device)
    guesses = Lookup(prompt) if lookup else None
    return collected(decode_one(model, prompt, 40, sampler, PrefixCache(1000), lookup=guesses), [limit])[0]


@pytest.mark.parametrize("name", GROWING)
def test_greedy_tokens_are_those_of_generate_with_and_without_guesses(name: str) -> None:
    model = tiny_model(name)
    assert shares_beginnings(model, new_cache(model.config))
    for prompt in prompts():
        output = model.generate(torch.tensor([prompt]), max_new_tokens=60, do_sample=False)[0, len(prompt) :].tolist()
        assert one(model, prompt, 60, lookup=False) == output
        assert one(model, prompt, 60, lookup=True) == output


@pytest.mark.parametrize("sampling", [{"temperature": 0.4, "seed": 3}, {"repetition_penalty": 1.3}])
def test_guesses_leave_sampling_and_penalties_as_they_are(sampling: dict[str, Any]) -> None:
    model = tiny_model("Llama")
    for prompt in prompts():
        plain = one(model, prompt, 80, lookup=False, **sampling)
        assert one(model, prompt, 80, lookup=True, **sampling) == plain


def test_a_reply_that_copies_takes_few_passes() -> None:
    model = tiny_model("Llama")
    for layer in model.model.layers:  # without attention each token decides the next, so that the reply is a circle
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
    model = Counted(model)
    reply = one(model, prompts()[0], 200, lookup=True)
    assert len(reply) == 200
    assert len(model.rows) < 80
    assert max(model.rows[2:]) <= LONGEST + 1


@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 4), min_size=1, max_size=300))
def test_guesses_that_fail_cost_little_whatever_the_text(prompt: list[int], reply: list[int]) -> None:
    lookup, passes, balance, best = Lookup(prompt), 0, 0.0, 0.0
    while reply:
        guess = lookup.guess()
        right = next((place for place, (a, b) in enumerate(zip(guess, reply, strict=False)) if a != b), len(guess))
        new, reply = reply[: right + 1], reply[right + 1 :]
        lookup.record(len(guess), new)
        passes += 1
        balance += len(new) - 1 - PRICE if guess else 0.0
        best = max(best, balance)
        assert balance > -START - ALLOWANCE * passes - 1e-9  # against no guesses at all
        assert balance > best - MOST - ALLOWANCE * passes - 1e-9  # against having stopped at the best moment


def test_a_reply_that_copies_nothing_is_not_slowed_down() -> None:
    """Guesses that fail come ever more rarely."""
    lookup, attempts = Lookup([7, 8, 9] * 20), 0
    for step in range(2000):
        guess = lookup.guess()
        attempts += bool(guess)
        lookup.record(len(guess), [[7, 8, 9][step % 3] if not guess else 5])
    assert attempts <= (START + ALLOWANCE * 2000) / PRICE


@given(
    prompt=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    reply=st.lists(st.integers(0, 3), min_size=1, max_size=60),
)
def test_a_guess_continues_an_earlier_place(prompt: list[int], reply: list[int]) -> None:
    lookup, text = Lookup(prompt), [*prompt]
    while reply:
        guess = lookup.guess()
        if guess:
            assert len(guess) <= LONGEST
            ending = text[-2:]
            places = [place for place in range(2, len(text)) if text[place - 2 : place] == ending]
            assert any((text[place:] * LONGEST)[: len(guess)] == guess for place in places)
        right = next((place for place, (a, b) in enumerate(zip(guess, reply, strict=False)) if a != b), len(guess))
        new, reply = reply[: min(right, len(reply) - 1) + 1], reply[min(right, len(reply) - 1) + 1 :]
        lookup.record(len(guess), new)
        text += new


class States:
    """Stands for a cache of a given size."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes


def talk(tokens: list[int], prompt: int, places: tuple[int, ...] = (), nbytes: int = 1) -> Conversation:
    return Conversation(None, tokens, States(nbytes), prompt, list(places))


def test_where_a_conversation_goes_on() -> None:
    tokens = list(range(100))
    kept = talk(tokens, 60, (40,))
    assert kept.place([*tokens, 7, 7]) == 100
    assert kept.place([*tokens[:90], 7, 7]) == 90, "the template may write the end of the reply in other tokens"
    assert kept.place(tokens[:60]) == 40, "asked again: as the first time"
    assert kept.place([*tokens[:50], 7]) == 40, "an edited question: from the turn before it on"
    assert kept.place([*tokens[:39], 7]) == 0
    assert talk(tokens, 60).place(tokens[:60]) == 0


def test_conversations_are_kept_within_their_bytes_and_per_adapter() -> None:
    kept = Conversations(10)
    first, second = talk([1] * 50, 40, nbytes=6), talk([2] * 50, 40, nbytes=6)
    kept.put(first)
    kept.put(second)
    assert kept.take(None, [1] * 60) is None
    assert kept.take("other", [2] * 60) is None
    assert kept.take(None, [2] * 60) == (second, 50)
    assert kept.take(None, [2] * 60) is None, "whoever took it has it alone"
    kept.put(second)
    kept.put(talk([2] * 70, 60, nbytes=6))
    assert kept.take(None, [2] * 80) is not None
    assert kept.take(None, [2] * 80) is None, "a longer one takes the place of the one it extends"


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return pipeline("dialogue", model=str(tiny_chat_model(tmp_path_factory.mktemp("tiny"))), dtype="float32")


def turns(chat: Pipeline, count: int, **options: Any) -> list[list[dict[str, str]]]:
    """The messages before each turn of a conversation."""
    messages: list[dict[str, str]] = []
    before = []
    for number in range(count):
        messages.append({"role": "user", "content": f"And what comes as number {number}, please? Who are you?"})
        before.append([*messages])
        reply = chat(messages=messages, max_new_tokens=12, seed=number, **options).text
        messages.append({"role": "assistant", "content": reply or "…"})
    return before


def read_tokens(chat: Pipeline, messages: list[dict[str, str]], **options: Any) -> tuple[int, str]:
    """How many tokens the model read to answer, and the answer."""
    engine = chat.engine
    assert isinstance(engine, LocalEngine)
    runner = engine._runner
    counted = Counted(runner.model)
    model, runner.model = runner.model, counted
    try:
        text = chat(messages=messages, **options).text
    finally:
        runner.model = model
    return sum(counted.rows), text


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_conversation_reads_only_what_is_new_and_says_the_same(chat: Pipeline, temperature: float) -> None:
    options = {"temperature": temperature}
    before = turns(chat, 8, **options)
    read, text = read_tokens(chat, before[7], max_new_tokens=12, seed=7, **options)
    assert read < 120, "the last reply's end, one question and the reply, not eight turns"
    # Again on an engine that knows nothing of it: everything is read, the answer is the same.
    chat.engine._runner.conversations.clear()  # type: ignore[attr-defined]
    whole, again = read_tokens(chat, before[7], max_new_tokens=12, seed=7, **options)
    assert whole > 300
    assert again == text


def test_a_turn_that_is_asked_again_repeats(chat: Pipeline) -> None:
    before = turns(chat, 4, temperature=1.0)
    replies = {chat(messages=before[3], temperature=1.0, seed=11, max_new_tokens=20).text for _ in range(3)}
    assert len(replies) == 1
    others = {chat(messages=before[3], temperature=5.0, seed=seed, max_new_tokens=20).text for seed in range(8)}
    assert len(others) > 1


def test_a_waiting_request_sees_its_own_cancel_and_deadline(chat: Pipeline) -> None:
    engine = chat.engine
    call = Call([{"role": "user", "content": "Who are you?"}], GenerationOptions(max_new_tokens=500, temperature=0.0))
    holder = engine.stream(call)
    next(holder)
    try:
        cancel = threading.Event()
        cancel.set()
        assert chat(messages=call.messages, deadline_s=0.01).finish_reason == "deadline"
        stream = chat.stream(messages=call.messages, cancel=cancel)
        assert list(stream) == []
        assert stream.generation.finish_reason == "cancelled"
    finally:
        holder.close()
    assert chat(messages=call.messages, max_new_tokens=3).finish_reason in ("stop", "length")
