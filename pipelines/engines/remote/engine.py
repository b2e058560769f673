"""The remote engine: any server that speaks OpenAI's chat interface, by ``https://host/v1#model``.

OpenAI, Gemini (``https://generativelanguage.googleapis.com/v1beta/openai#…``), Hugging Face's router, vLLM, llama.cpp,
``transformers serve``. The server knows its tokenizer and its chat template, and this side does not: lengths are
estimates that err on the long side (``remote_text.py``).
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from pipelines.engines.base import Call, Completion, Engine, Message, all_completed
from pipelines.engines.remote.address import parse_address
from pipelines.engines.remote.errors import failure_of
from pipelines.engines.remote.exchange import Exchange, Limits
from pipelines.engines.remote.models import listed_length, the_only_model
from pipelines.engines.remote.payload import Known
from pipelines.engines.remote.text import estimated_tokens
from pipelines.engines.remote.thread import Background
from pipelines.engines.remote.transport import http_library, open_client
from pipelines.errors import CinquainError, UnavailableError
from pipelines.generation import Note, Usage

__all__ = ["DEFAULT_CONTEXT_LENGTH", "RemoteEngine"]

DEFAULT_CONTEXT_LENGTH = 8192
"""Where the server does not say: no model that is served today has less, so that nothing is ever refused for length.
Long texts are split sooner than they must be; ``context_length`` gives the true figure."""

TICK_S = 0.02
"""How often a waiting caller looks whether it was cancelled."""

NOBODY_S = 2.0
"""How long it is taken for granted that nobody answers: each row of a batch asks, and would wait anew."""

_MESSAGE_TOKENS = 8
"""Tokens that a chat template writes around a message: 4 to 6 in those of Llama, Qwen and Gemma."""


# ``load_engine`` checks options against these.
Count = Annotated[int, Field(ge=1)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class RemoteEngine(Engine):
    """Asks a server.

    Args:
        reference: ``https://host/v1#model``; without ``#model`` the only model that the server lists.
        concurrency: Calls that are on their way at once in a batch. 8 is what servers for many people allow a single
            one; a vLLM server of one's own is kept busy by 64 and more.
        context_length: Tokens that prompt and reply share; by default what the server says, else 8192.
        price_prompt: Price of a million tokens read, for a note with the cost of a request.
        price_completion: Price of a million tokens written.
        connect_s: Seconds to wait for a connection.
        first_token_s: Seconds from the request to its first token; a busy server lets a call wait for its turn.
        between_tokens_s: Seconds between two tokens.
        total_s: Seconds for one try, however steadily it writes: 32,768 tokens at 20 a second take 1640 s.
        retries: Further tries where a server is busy or down, or breaks off before anything was shown.
        backoff_s: Wait before the second try; it doubles with each one, up to a minute.

    Raises:
        InputError: The reference is wrong.
    """

    def __init__(
        self,
        reference: str,
        *,
        concurrency: Count = 8,
        context_length: Count | None = None,
        price_prompt: Price | None = None,
        price_completion: Price | None = None,
        connect_s: Seconds = 10.0,
        first_token_s: Seconds = 300.0,
        between_tokens_s: Seconds = 60.0,
        total_s: Seconds = 1800.0,
        retries: Annotated[int, Field(ge=0)] = 4,
        backoff_s: Seconds = 1.0,
    ) -> None:
        self.address = parse_address(reference)
        self.reference = self.address.reference
        self.chat_template = ""
        self.concurrency = concurrency
        self._limits = Limits(connect_s, first_token_s, between_tokens_s, total_s, retries, backoff_s)
        self._prices = price_prompt, price_completion
        self._known = Known()
        self._nobody: tuple[float, CinquainError] | None = None
        if context_length is not None:
            self.context_length = context_length

    @cached_property
    def model(self) -> str:
        """The model's name; a server whose only model it is, is asked once."""
        return self.address.model or self._ask(the_only_model)

    @cached_property
    def context_length(self) -> int:  # type: ignore[override]
        """Tokens that prompt and reply share; the server is asked once, when the first request is planned."""
        model = self.model
        return self._ask(lambda client, address: listed_length(client, address, model)) or DEFAULT_CONTEXT_LENGTH

    def count_tokens(self, text: str) -> int:
        """Tokens that a text takes at most, as an estimate."""
        return estimated_tokens(text)

    def count_prompt(self, messages: Sequence[Message]) -> int:
        """Tokens of a conversation at most, as an estimate."""
        return sum(estimated_tokens(message["content"]) + _MESSAGE_TOKENS for message in messages) + _MESSAGE_TOKENS

    def stream(self, call: Call, cancel: threading.Event | None = None) -> Generator[str | Completion, None, None]:
        """Ask for one reply; its pieces as they come. Requests do not wait for each other."""
        pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        exchange = self._exchange(call, pieces.put, shown=True)
        if cancel is None or not cancel.is_set():
            with self._running([exchange], lambda _: pieces.put(None)):
                yield from _until_none(pieces, cancel)
        if exchange.error:
            raise exchange.error
        if exchange.completion is None:
            exchange.end("cancelled")
        while not pieces.empty():  # what came between the last look and the end
            if piece := pieces.get():
                yield piece
        assert exchange.completion is not None
        yield exchange.completion

    def batch(
        self,
        calls: Sequence[Call],
        cancel: threading.Event | None = None,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """Ask for many replies, ``concurrency`` of them at once; completions in the order of the calls.

        Raises:
            CallsFailedError: Some failed, and hold their error. Where the server as a whole cannot be used, those that
                had not begun were not sent.
        """
        ended: queue.SimpleQueue[Exchange | None] = queue.SimpleQueue()
        exchanges = [self._exchange(call, lambda _: None, shown=False) for call in calls]
        places = {id(exchange): place for place, exchange in enumerate(exchanges)}
        if calls and (cancel is None or not cancel.is_set()):
            with self._running(exchanges, ended.put):
                for exchange in _until_none(ended, cancel):
                    if exchange.completion and on_done:
                        on_done(places[id(exchange)], exchange.completion)
        outcomes: list[Completion | CinquainError] = []
        for exchange in exchanges:
            if exchange.completion is None and exchange.error is None:
                exchange.end("cancelled")
            outcomes.append(exchange.completion or exchange.error)  # type: ignore[arg-type]
        return all_completed(outcomes)

    def request_notes(self, usage: Usage) -> list[Note]:
        """The cost of a request, where prices were given."""
        if self._prices == (None, None):
            return []
        prompt, completion = (price or 0.0 for price in self._prices)
        cost = (usage.prompt_tokens * prompt + usage.completion_tokens * completion) / 1e6
        return [Note("remote_cost", {"cost": f"{cost:.6f}", "prompt": f"{prompt:g}", "completion": f"{completion:g}"})]

    def provenance(self) -> dict[str, Any]:
        """Server and model; once it has answered, also what the server calls what answered."""
        found: dict[str, Any] = {"engine": "remote", "server": self.address.base, "model": self.model}
        if self._known.models:
            found["served"] = sorted(self._known.models)
        if self._known.fingerprints:
            found["fingerprints"] = sorted(self._known.fingerprints)
        return found

    def _exchange(self, call: Call, emit: Callable[[str], None], *, shown: bool) -> Exchange:
        return Exchange(call, self.address, self.model, self._limits, self._known, emit, shown)

    @contextmanager
    def _running(self, exchanges: list[Exchange], ended: Callable[[Exchange | None], None]) -> Iterator[None]:
        """Send calls in the background; ``ended`` is called with each that has ended, and with None after the last.

        Leaving it ends what is still on its way, and closes its connections.
        """
        waiting = iter(exchanges)
        down: UnavailableError | None = None

        async def worker(client: Any) -> None:
            nonlocal down
            for exchange in waiting:
                exchange.error = down
                if down is None:
                    await exchange.run(client)
                if isinstance(exchange.error, UnavailableError):
                    down = exchange.error
                ended(exchange)

        async def work() -> None:
            try:
                async with open_client(self.address, self._limits.connect_s) as client:
                    await asyncio.gather(*(worker(client) for _ in range(min(self.concurrency, len(exchanges)))))
            finally:
                ended(None)

        background = Background(work)
        try:
            yield
        finally:
            background.stop()
        if background.error:
            raise background.error

    def _ask(self, question: Callable[[Any, Any], Coroutine[Any, Any, Any]]) -> Any:
        """The answer to a question about the server's models.

        Raises:
            CinquainError: Nobody answers at this address, or what the question raises.
        """
        if self._nobody and time.monotonic() < self._nobody[0]:
            raise self._nobody[1]
        answers: list[Any] = []

        async def work() -> None:
            async with open_client(self.address, self._limits.connect_s) as client:
                answers.append(await question(client, self.address))

        background = Background(work)
        background.join()
        if isinstance(background.error, http_library().HTTPError):
            error = failure_of(background.error, self.address, self._known).error
            self._nobody = time.monotonic() + NOBODY_S, error
            raise error
        if background.error:
            raise background.error
        return answers[0]


def _until_none(items: "queue.SimpleQueue[Any]", cancel: threading.Event | None) -> Iterator[Any]:
    """What comes through a queue until None does, or until it is cancelled."""
    while cancel is None or not cancel.is_set():
        try:
            item = items.get(timeout=TICK_S) if cancel else items.get()
        except queue.Empty:
            continue
        if item is None:
            return
        yield item
