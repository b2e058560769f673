"""One call to a server: asked, asked again where that may help, read piece by piece, limited in time."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.engines.base import Call, Completion
from pipelines.engines.markers import thought_note
from pipelines.engines.remote.address import Address
from pipelines.engines.remote.errors import Failure, failure_of, refused_field
from pipelines.engines.remote.models import not_found
from pipelines.engines.remote.payload import Known, fields_of, notes_on
from pipelines.engines.remote.text import Outlet, estimated_tokens
from pipelines.engines.remote.transport import RefusedError, readable
from pipelines.engines.thinking import BLOCKS, BlockSplitter
from pipelines.errors import CinquainError
from pipelines.generation import FinishReason, Note

__all__ = ["MAX_WAIT_S", "Exchange", "Limits", "pause"]

MAX_WAIT_S = 60.0
"""Longest pause between two tries. A server that asks for more is out of quota rather than busy: a person decides."""

_FINISH: dict[str, FinishReason] = {"length": "length", "max_tokens": "length"}


@dataclass(frozen=True)
class Limits:
    """Patience with a server, in seconds; see the engine's options."""

    connect_s: float
    first_token_s: float
    between_tokens_s: float
    total_s: float
    retries: int
    backoff_s: float


class Exchange:
    """One call on its way.

    Args:
        call: The call.
        address: The server.
        model: Name of the model there.
        limits: How long to wait, how often to ask.
        known: What is known of the server; learned from and added to.
        emit: Called with each new piece of text.
        shown: Whether a person sees the pieces: then a reply that breaks off is not begun again.

    Attributes:
        completion: The outcome, once there is one.
        error: What came in its place.
    """

    def __init__(
        self,
        call: Call,
        address: Address,
        model: str,
        limits: Limits,
        known: Known,
        emit: Callable[[str], None],
        shown: bool,
    ) -> None:
        self.call = call
        self.completion: Completion | None = None
        self.error: CinquainError | None = None
        self._address = address
        self._model = model
        self._limits = limits
        self._known = known
        self._emit = emit
        self._shown = shown
        self._started = time.perf_counter()
        self._asked = False
        self._failures = 0
        self._adapted: list[str] = []
        self._begin()

    def _begin(self) -> None:
        """Forget a try that has failed."""
        self._outlet = Outlet(self.call.options.stop, self._address.key)
        self._first: float | None = None
        self._finish: str | None = None
        self._usage: tuple[int, int] | None = None
        # A server that parts thinking from text sends them apart; others leave the block in the reply.
        self._splitter = BlockSplitter(BLOCKS[:1])
        self._thought_tokens = 0

    async def run(self, client: Any) -> None:
        """Ask until there is a completion or an error.

        Args:
            client: The HTTP client of this server.
        """
        deadline = self.call.options.deadline_s
        left = None if deadline is None else deadline - (time.perf_counter() - self._started)
        if left is not None and left <= 0:
            return self.end("deadline")
        try:
            async with asyncio.timeout(left):
                failure = await self._ask(client)
        except TimeoutError:
            self.end("deadline")
        else:
            if failure:
                self.error = failure.error
            else:
                self.end(_FINISH.get(self._finish or "", "stop"))

    def end(self, reason: FinishReason) -> None:
        """Make the completion of what there is."""
        if rest := self._outlet.push(self._splitter.finish()) + self._outlet.finish():
            self._emit(rest)
        notes = notes_on(self.call, self._known)
        if self._adapted:
            notes.append(Note("remote_adapted", {"server": self._address.host, "names": self._adapted}))
        if self._failures:
            notes.append(Note("remote_retried", {"server": self._address.host, "times": self._failures + 1}))
        if thought := self._thought_note(reason):
            notes.append(thought)
        if self._finish == "content_filter":
            notes.append(Note("remote_filtered", {"server": self._address.host}))
        if self._usage is None and self._asked:
            notes.append(Note("remote_usage_estimated", {"server": self._address.host}))
            prompt = sum(estimated_tokens(message["content"]) for message in self.call.messages)
            self._usage = prompt, estimated_tokens(self._outlet.text + self._splitter.thought)
        prompt_tokens, completion_tokens = self._usage or (0, 0)
        total = time.perf_counter() - self._started
        self.completion = Completion(
            self._outlet.text, prompt_tokens, completion_tokens, reason, self._first, total, tuple(notes)
        )

    async def _ask(self, client: Any) -> Failure | None:
        while True:
            await pause(max(0.0, self._known.pause_until - time.monotonic()))
            fields = fields_of(self.call, self._known)
            self._asked = True
            if (problem := await self._attempt(client, fields)) is None:
                return None
            if isinstance(problem, RefusedError) and (name := refused_field(problem, fields)):
                self._known.refused.add(name)
                self._adapted.append(name)
                continue
            failure = failure_of(problem, self._address, self._known)
            if isinstance(problem, RefusedError) and problem.status == 404:
                failure = Failure(await not_found(client, self._address, self._model, problem.message))
            self._failures += 1
            begun = self._shown and bool(self._outlet.text)
            if not failure.again or begun or self._failures > self._limits.retries or failure.wait_s > MAX_WAIT_S:
                return failure
            # Half of the wait is left to chance, so that calls that failed together do not come back together.
            wait = min(self._limits.backoff_s * 2 ** (self._failures - 1), MAX_WAIT_S) * random.uniform(0.5, 1.0)
            if failure.wait_s:
                # The server means all of its callers, not only this call.
                self._known.pause_until = max(self._known.pause_until, time.monotonic() + failure.wait_s)
            self._begin()
            await pause(max(wait, failure.wait_s))

    async def _attempt(self, client: Any, fields: dict[str, Any]) -> Exception | None:
        """Ask once; returns what went wrong.

        Raises:
            asyncio.CancelledError: From outside; the connection is closed then, as it is after every failure.
        """
        from huggingface_hub import AsyncInferenceClient

        renamed = {name: fields[name] for name in fields if name == "max_completion_tokens"}  # not known to the client
        # The whole address: the client would put a second /v1 behind Gemini's /v1beta/openai. The key is added below
        # the client, which would look for the Hub's token if it were given none.
        inference = AsyncInferenceClient(base_url=f"{self._address.base}/chat/completions", api_key="unset")
        # Private, and the only door to a client of one's own that is not one for the whole process.
        inference._async_client = client
        loop = asyncio.get_running_loop()
        last = loop.time() + self._limits.total_s
        problem: Exception | None = None
        timer = asyncio.timeout(min(self._limits.first_token_s, self._limits.total_s))
        try:
            async with inference, timer:
                chunks: Any = await inference.chat_completion(
                    [dict(message) for message in self.call.messages],
                    model=self._model,
                    stream=True,
                    extra_body=renamed or None,
                    **{name: value for name, value in fields.items() if name not in renamed},
                )
                self._known.answered = True
                async for chunk in chunks:
                    if self._take(chunk):
                        timer.reschedule(min(loop.time() + self._limits.between_tokens_s, last))
                    if self._outlet.stopped:
                        return None
        except Exception as error:  # remote_errors tells the kinds apart
            problem = self._too_slow(loop.time() >= last) if timer.expired() else error
        if self._finish:  # all of the text is there, whatever came after it
            return None
        return problem or EOFError()

    def _take(self, chunk: Any) -> bool:
        """Read one event; returns whether it brought anything.

        Raises:
            ValueError, TypeError, AttributeError, KeyError: It is of another shape.
        """
        if chunk.model and isinstance(chunk.model, str):
            self._known.models.add(readable(self._address.mask(chunk.model)))
        if chunk.system_fingerprint and isinstance(chunk.system_fingerprint, str):
            self._known.fingerprints.add(readable(self._address.mask(chunk.system_fingerprint)))
        if chunk.usage is not None:
            self._usage = max(0, int(chunk.usage.prompt_tokens)), max(0, int(chunk.usage.completion_tokens))
            details = getattr(chunk.usage, "completion_tokens_details", None)
            self._thought_tokens = int(details.get("reasoning_tokens") or 0) if isinstance(details, dict) else 0
        if not chunk.choices:  # the last event of some servers holds only the usage
            return False
        choice = chunk.choices[0]
        delta = choice.delta
        thought = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None) or ""
        content = (delta.content if delta is not None else None) or ""
        if not isinstance(content, str) or not isinstance(thought, str):
            raise TypeError("text is no string")
        if self._first is None and (content or thought):
            self._first = time.perf_counter() - self._started
        self._splitter.thought += thought
        if text := self._outlet.push(self._splitter.push(content)):
            self._emit(text)
        self._finish = choice.finish_reason or self._finish
        return bool(content or thought or choice.finish_reason)

    def _thought_note(self, reason: FinishReason) -> Note | None:
        splitter = self._splitter
        splitter.thought = self._address.mask(splitter.thought)
        if splitter.thought and not self._outlet.text:
            splitter.thinking = True
        return thought_note(splitter, self._thought_tokens or estimated_tokens(splitter.thought), reason)

    def _too_slow(self, whole: bool) -> CinquainError:
        server, limits = self._address.host, self._limits
        if whole:
            return CinquainError("remote_slow_whole", server=server, seconds=f"{limits.total_s:g}")
        if self._first is None:
            return CinquainError("remote_slow_start", server=server, seconds=f"{limits.first_token_s:g}")
        return CinquainError("remote_slow_middle", server=server, seconds=f"{limits.between_tokens_s:g}")


async def pause(seconds: float) -> None:
    """Wait between two tries; ends at once when the call is cancelled."""
    if seconds > 0:
        await asyncio.sleep(seconds)
