"""One reply of the local engine on its way from tokens to a completion."""

import threading
import time
from functools import cached_property
from typing import Any

from pipelines.engines.base import Call, Completion
from pipelines.engines.chat import ChatFormat
from pipelines.generation import FinishReason

__all__ = ["Reply"]


class Reply:
    """One reply on its way: its tokens, its limits, its text.

    Args:
        call: What it answers.
        tokens: The whole prompt.
        shared: How many leading tokens other prompts may share.
        limit: Most tokens that it may get.
        format: How this model writes conversations.

    Attributes:
        completion: The outcome, once it has ended.
    """

    def __init__(self, call: Call, tokens: list[int], shared: int, limit: int, format: ChatFormat) -> None:  # noqa: A002
        self.call = call
        self.tokens = tokens
        self.shared = shared
        self.started = time.perf_counter()
        self.completion: Completion | None = None
        self._limit = limit
        self._format = format
        self._count = 0
        self._first: float | None = None

    @property
    def beginning(self) -> tuple[int, ...]:
        """The tokens that other replies may share."""
        return tuple(self.tokens[: self.shared])

    @property
    def size(self) -> int:
        """Tokens that it may come to hold."""
        return len(self.tokens) + self._limit

    @cached_property
    def _text(self) -> Any:
        from pipelines.engines.assembly import TextAssembler

        return TextAssembler(self._format.tokenizer, self.call.options.stop)

    def advance(self, token: int | None, cancel: threading.Event | None) -> str:
        """Take the next token (None while prompts are read); returns new text and ends where a limit is reached."""
        elapsed = time.perf_counter() - self.started
        deadline = self.call.options.deadline_s
        reason: FinishReason | None = None
        text = ""
        if token is not None:
            self._count += 1
            self._first = elapsed if self._first is None else self._first
            if token in self._format.ending:
                reason = "stop"
            else:
                text = self._text.push(token)
                if self._text.stopped:
                    reason = "stop"
                elif self._count >= self._limit:
                    reason = "length"
        if reason is None and cancel is not None and cancel.is_set():
            reason = "cancelled"
        if reason is None and deadline is not None and elapsed >= deadline:
            reason = "deadline"
        if reason is not None:
            text += self._text.finish()
            self.completion = Completion(self._text.text, len(self.tokens), self._count, reason, self._first, elapsed)
        return text
