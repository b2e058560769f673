"""The contract of an engine: what produces tokens."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from pipelines.generation import FinishReason, GenerationOptions

__all__ = ["Call", "Completion", "Engine", "Message"]

Message = dict[str, str]
"""``{"role": "system" | "user" | "assistant", "content": text}``"""


@dataclass(frozen=True)
class Call:
    """One question to a model.

    Attributes:
        messages: The conversation, the last one from the user.
        options: Complete generation options; ``deadline_s`` counts from the start of this call.
        task: Name of the task that asks.
        request: The task's validated request for just this call (for engines that are not chat models).
        shared: How many leading messages other calls are likely to share (system message, worked examples); an
            engine may keep what it computed for them.
    """

    messages: list[Message]
    options: GenerationOptions = field(default_factory=GenerationOptions)
    task: str = ""
    request: BaseModel | None = None
    shared: int = 0


@dataclass(frozen=True)
class Completion:
    """What came back for one call; seconds count from the start of the engine's work on it."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    first_token_s: float | None
    total_s: float


class Engine(ABC):
    """Produces tokens for calls; knows nothing of tasks.

    An engine serves one request at a time: ``stream`` and ``batch`` hold its lock while they run.

    Attributes:
        reference: The model reference it was made from.
        context_length: Tokens that prompt and reply share.
        chat_template: The template that turns messages into the model's text ("" where there is none).
    """

    reference: str
    context_length: int
    chat_template: str

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """Tokens of a bare text."""

    @abstractmethod
    def count_prompt(self, messages: Sequence[Message]) -> int:
        """Tokens of a whole conversation as the model will read it, chat template included."""

    @abstractmethod
    def stream(self, call: Call, cancel: threading.Event | None = None) -> Generator[str | Completion, None, None]:
        """Generate for one call: pieces of text as they come, then the Completion, which holds their sum.

        Setting ``cancel``, or closing the iterator, ends the work within one token.

        Raises:
            InputError: ``prompt_too_long`` when the prompt leaves no room for a reply.
        """

    @abstractmethod
    def batch(
        self,
        calls: Sequence[Call],
        cancel: threading.Event | None = None,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """Generate for many calls; completions in the order of the calls.

        ``on_done(index, completion)`` is called as each one ends, in any order.
        """

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """What these tokens come from: engine, model hash, dtype, device, library versions. Plain JSON data."""

    def close(self) -> None:  # noqa: B027 - an engine that holds nothing has nothing to free
        """Free memory and connections."""
