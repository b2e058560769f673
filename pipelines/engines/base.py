"""The contract of an engine: what produces tokens."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from pipelines.errors import CinquainError, InputError
from pipelines.generation import FinishReason, GenerationOptions, Note, Usage
from pipelines.prompts import Message, Prompt, load_prompt

__all__ = ["Call", "CallsFailedError", "Completion", "Engine", "Message", "Room", "all_completed"]


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
        goes_on: Whether a later call is likely to begin with this one and its reply, as the next turn of a
            conversation does; an engine may keep what it computed.
        adapter: Name of the adapter that answers; None for the base model. Set by the view that a request got.
    """

    messages: list[Message]
    options: GenerationOptions = field(default_factory=GenerationOptions)
    task: str = ""
    request: BaseModel | None = None
    shared: int = 0
    goes_on: bool = False
    adapter: str | None = None


@dataclass(frozen=True)
class Completion:
    """What came back for one call; seconds count from the start of the engine's work on it.

    Attributes:
        text: The reply.
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written, those of a thinking block too.
        finish_reason: Why it ended.
        first_token_s: Until the first token; None where none came.
        total_s: Until the end.
        notes: What a person should know of how this call was answered: fields that this model cannot follow, a
            thinking block that was taken out, a retry.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    first_token_s: float | None
    total_s: float
    notes: tuple[Note, ...] = ()


class CallsFailedError(CinquainError):
    """Some calls of a batch failed, and the others are done. It reads like the first failure.

    Attributes:
        outcomes: In the order of the calls: the completion, or the error that came in its place.
    """

    def __init__(self, outcomes: Sequence[Completion | CinquainError]) -> None:
        first = next(outcome for outcome in outcomes if isinstance(outcome, CinquainError))
        super().__init__(first.code, **first.parameters)
        self.exit_code = first.exit_code
        self.outcomes = list(outcomes)

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling with all outcomes."""
        return type(self), (self.outcomes,)


def all_completed(outcomes: Sequence[Completion | CinquainError]) -> list[Completion]:
    """The outcomes of a batch as completions, where every call has one.

    Raises:
        CallsFailedError: Some calls failed.
    """
    done = [outcome for outcome in outcomes if isinstance(outcome, Completion)]
    if len(done) < len(outcomes):
        raise CallsFailedError(outcomes)
    return done


@dataclass(frozen=True)
class Room:
    """Tokens that a call leaves free.

    Attributes:
        prompt: May still be added to the prompt; negative where it is too long already.
        reply: Are left for the reply.
        shared: Whether both come from one context, so that what the one takes the other loses. Encoder–decoder models
            have a length for each.
    """

    prompt: int
    reply: int
    shared: bool = True

    def fits(self, reply: int) -> bool:
        """Whether the prompt fits, with a reply of this many tokens."""
        return self.prompt >= 0 and self.reply >= reply

    def text(self, reply_factor: int, reply_extra: int) -> int:
        """Tokens of text that fit into the prompt beside a reply of ``reply_factor`` times as many and some extra."""
        if self.shared:
            return (self.prompt - reply_extra) // (1 + reply_factor)
        return min(self.prompt, (self.reply - reply_extra) // reply_factor)


class Engine(ABC):
    """Produces tokens for calls; knows nothing of tasks.

    An engine serves one request at a time: ``stream`` and ``batch`` hold its lock while they run.

    Attributes:
        reference: The model reference it was made from.
        context_length: Tokens that prompt and reply share.
        chat_template: The template that turns messages into the model's text ("" where there is none).
        adapter: What its calls carry as ``Call.adapter``; None for the base model.
        follows_instructions: Whether it reads the messages of a call. A translation model reads only the request: to
            ask it again in other words is of no use.
    """

    reference: str
    context_length: int
    chat_template: str
    adapter: str | None = None
    follows_instructions: bool = True

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """Tokens of a bare text."""

    @abstractmethod
    def count_prompt(self, messages: Sequence[Message]) -> int:
        """Tokens of a whole conversation as the model will read it, chat template included."""

    def room(self, call: Call) -> Room:
        """What a call leaves free.

        Raises:
            InputError: This model cannot do what the call asks at all (a language pair that it never learned).
        """
        left = self.context_length - self.count_prompt(call.messages)
        return Room(left, left)

    def check_task(self, task: str) -> None:  # noqa: B027 - most engines can be asked anything
        """Refuse a task that this model cannot do.

        Raises:
            InputError: ``model_task`` with the tasks that it can do.
        """

    def view(self, adapter: str | None) -> "Engine":
        """This engine as requests under one adapter see it: its chat template, its wording, its hashes.

        Args:
            adapter: Name of a loaded adapter, ``base`` for the model without one, None for the engine's own choice.

        Raises:
            InputError: ``adapter_unknown``, or ``engine_takes_no_adapter``.
        """
        if adapter not in (None, "base"):
            raise InputError("engine_takes_no_adapter", reference=self.reference)
        return self

    def wording(self, task: str, override: Prompt | None) -> Prompt:
        """The prompt to use for a task.

        Args:
            task: Name of the task.
            override: The prompt that the caller asked for instead of the one that ships, if any.

        Raises:
            InputError: ``prompt_differs`` where an adapter was trained with another one than was asked for.
        """
        return override or load_prompt(task)

    @abstractmethod
    def stream(self, call: Call, cancel: threading.Event | None = None) -> Generator[str | Completion, None, None]:
        """Generate for one call: pieces of text as they come, then the Completion, which holds their sum.

        Setting ``cancel``, or closing the iterator, ends the work within one token.

        Raises:
            InputError: ``prompt_too_long`` when the prompt leaves no room for a reply, or ``input_too_long`` where both
                have a length of their own.
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

        Raises:
            CallsFailedError: Some failed; after all the others have ended.
        """

    def request_notes(self, usage: Usage) -> list[Note]:
        """What to say of a whole request when it has ended, given the tokens of all of its calls."""
        return []

    def keep_nothing(self) -> None:  # noqa: B027 - most engines keep nothing anyway
        """Keep no states of one call for the next: where each has a process of its own, they only take memory."""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """What these tokens come from: engine, model hash, dtype, device, library versions. Plain JSON data."""

    def close(self) -> None:  # noqa: B027 - an engine that holds nothing has nothing to free
        """Free memory and connections."""
