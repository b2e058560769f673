"""One reply of the local engine on its way from tokens to a completion."""

import threading
import time
from functools import cached_property
from typing import Any

from pipelines.engines.base import Call, Completion
from pipelines.engines.chat import ChatFormat
from pipelines.engines.markers import thought_note
from pipelines.generation import FinishReason, Note

__all__ = ["Reply"]


class Reply:
    """One reply on its way: its tokens, its limits, its text.

    Args:
        call: What it answers.
        tokens: The whole prompt.
        shared: How many leading tokens other prompts may share.
        limit: Most tokens of its text; what it thinks before that counts by ``format.thinking_limit``.
        room: Tokens that the context has left for both.
        format: How this model writes conversations.
        notes: What a person should know of every such reply.

    Attributes:
        completion: The outcome, once it has ended.
    """

    def __init__(
        self,
        call: Call,
        tokens: list[int],
        shared: int,
        limit: int,
        room: int,
        format: ChatFormat,  # noqa: A002
        notes: tuple[Note, ...] = (),
    ) -> None:
        self.call = call
        self.tokens = tokens
        self.shared = shared
        self.started = time.perf_counter()
        self.completion: Completion | None = None
        self._limit = limit
        self._room = room
        self._format = format
        self._notes = notes
        self._count = 0
        self._thought = 0
        """Tokens up to the end of the thinking."""
        self._first: float | None = None

    @property
    def beginning(self) -> tuple[int, ...]:
        """The tokens that other replies may share."""
        return tuple(self.tokens[: self.shared])

    @property
    def size(self) -> int:
        """Tokens that it may come to hold."""
        return len(self.tokens) + min(self._limit + self._format.thinking_tokens, self._room)

    @cached_property
    def _text(self) -> Any:
        from pipelines.engines.assembly import TextAssembler

        stop = (*self.call.options.stop, *self._format.stop)
        return TextAssembler(self._format.tokenizer, stop, self._format.markers)

    def advance(self, token: int | None, cancel: threading.Event | None) -> str:
        """Take the next token (None while prompts are read); returns new text and ends where a limit is reached."""
        if self.completion is not None:
            return ""
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
                before = self._text.splitter.stage
                text = self._text.push(token)
                after = self._text.splitter.stage
                if before != "answer" and "thinking" in (before, after):
                    self._thought = self._count - (after == "answer")
                if self._text.stopped:
                    reason = "stop"
                elif self._full():
                    reason = "length"
        if reason is None and cancel is not None and cancel.is_set():
            reason = "cancelled"
        if reason is None and deadline is not None and elapsed >= deadline:
            reason = "deadline"
        if reason is not None:
            text += self._text.finish()
            note = thought_note(self._text.splitter, self._thought, reason)
            self.completion = Completion(
                self._text.text,
                len(self.tokens),
                self._count,
                reason,
                self._first,
                elapsed,
                (*self._notes, *((note,) if note else ())),
            )
        return text

    def _full(self) -> bool:
        """Whether a limit of tokens is reached."""
        if self._count >= self._room:
            return True
        stage = self._text.splitter.stage
        if stage == "thinking":
            # Who allows a longer reply than that allows a longer thinking, too: it is the one number that they can set.
            return self._thought >= max(self._format.thinking_limit, self._limit)
        return stage != "undecided" and self._count - self._thought >= self._limit
