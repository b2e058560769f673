"""The contract of a task: one definition that serves, trains and scores."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from pipelines.engines.base import Call, Completion, Engine, Message, Room
from pipelines.errors import InputError
from pipelines.generation import GenerationOptions, Note
from pipelines.prompts import Prompt
from pipelines.requests import TaskRequest

__all__ = ["Run", "Step", "Steps", "Stopped", "Task"]

RequestT = TypeVar("RequestT", bound=TaskRequest)

SMALLEST_REPLY = 16
"""Tokens that must be left for a reply; with fewer a prompt counts as too long."""


@dataclass(frozen=True)
class Step:
    """Model calls that a task wants made together.

    Attributes:
        calls: The calls; their completions come back in this order.
        show: Only with a single call: maps the reply so far, and whether it is complete, to the text that may be shown
            already. Each value must start with the one before. Without ``show`` nothing is shown until the task says
            so.
    """

    calls: list[Call]
    show: Callable[[str, bool], str] | None = None


Steps = Generator[Step | str, list[Completion], None]
"""How a task answers a request. It yields a Step and gets its completions back, or yields text that is settled; the
text of the result is what was shown and settled, in that order, so a stream and its result can never differ.

A deadline or a cancel throws ``Stopped`` at the Step that it ended; a reader who leaves closes the generator, which
sees a GeneratorExit there and can only note what was not done."""


class Stopped(BaseException):
    """Thrown at a Step that a deadline or a cancel ended. A task that catches it may yield text, then returns.

    No GeneratorExit: ``yield from`` would close the generator inside instead of handing that on (PEP 380). And no
    Exception, as it is no failure.

    Attributes:
        completions: What the model had written for the calls of the Step by then.
    """

    def __init__(self, completions: list[Completion]) -> None:
        super().__init__()
        self.completions = completions


@dataclass
class Run:
    """What a task works with while it answers one request.

    Attributes:
        task: Name of the task.
        engine: For counting tokens; calls go through ``yield Step(...)``.
        prompt: The wording in force.
        options: Complete generation options of the request.
        notes: What the person will be told.
        variants: Several results, the best first, where several were asked for.
    """

    task: str
    engine: Engine
    prompt: Prompt
    options: GenerationOptions
    notes: list[Note] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)

    def note(self, code: str, *, span: tuple[int, int] | None = None, **parameters: Any) -> None:
        """Tell the person something about the result."""
        self.notes.append(Note(code, parameters, span))

    def room(self, messages: list[Message], request: TaskRequest | None = None) -> Room:
        """Tokens that a call leaves free.

        Raises:
            InputError: The model cannot do what the request asks.
        """
        return self.engine.room(Call(messages, self.options, self.task, request, adapter=self.engine.adapter))

    def call(
        self, messages: list[Message], request: TaskRequest | None = None, *, goes_on: bool = False, **options: Any
    ) -> Call:
        """A call with this run's options, ``options`` on top, and a reply that fits into the context.

        Args:
            messages: The conversation.
            request: The request for just this call.
            goes_on: Whether the conversation is likely to go on after the reply.
            options: Generation options for this call alone.

        Raises:
            InputError: ``prompt_too_long``, ``input_too_long``, or the model cannot do what the request asks.
        """
        room = self.room(messages, request)
        merged = self.options.model_copy(update=options)
        wanted = merged.max_new_tokens or SMALLEST_REPLY
        if not room.fits(min(wanted, SMALLEST_REPLY)):
            raise self.too_long(room)
        fitted = merged.model_copy(update={"max_new_tokens": min(wanted, room.reply)})
        # Other conversations have nothing in common with this one but the system message.
        shared = int(messages[0]["role"] == "system") if goes_on else len(messages) - 1
        return Call(messages, fitted, self.task, request, shared, goes_on, self.engine.adapter)

    def too_long(self, room: Room, needed: int = 0) -> InputError:
        """The error for a prompt that leaves this room where ``needed`` tokens of text have to fit in."""
        limit = self.engine.context_length
        code = "prompt_too_long" if room.shared else "input_too_long"
        return InputError(code, tokens=limit - room.prompt + needed, limit=limit)


class Task(ABC, Generic[RequestT]):
    """What is asked of a model.

    Attributes:
        name: Name in the command line, the API and the file names.
        request_type: The typed fields of a request.
        defaults: Generation options of this task where the person sets none; complete but for seed and deadline.
        metrics: Names of the metrics that judge it (``eval/metrics``).
        text_fields: Fields of a request that people write freely (texts, turns of a conversation, pairs of terms):
            what the preparation of data repairs and redacts.
    """

    name: ClassVar[str]
    request_type: ClassVar[type[TaskRequest]]
    defaults: ClassVar[GenerationOptions]
    metrics: ClassVar[tuple[str, ...]]
    text_fields: ClassVar[tuple[str, ...]]

    @abstractmethod
    def fields_from_text(self, text: str) -> dict[str, Any]:
        """The request fields for a bare text, as ``cinquain run TASK TEXT`` gives it."""

    @abstractmethod
    def messages(self, request: RequestT, prompt: Prompt) -> list[Message]:
        """The conversation for a request that fits into one call: the same for serving, training and scoring."""

    @abstractmethod
    def parse(self, reply: str, request: RequestT, *, complete: bool = True) -> str:
        """The answer inside a model's reply (no "Sure, here is…", no code fence).

        With ``complete=False`` the reply is still growing: returns the part that no further token can change, so that
        each value starts with the one before.
        """

    @abstractmethod
    def steps(self, request: RequestT, run: Run) -> Steps:
        """Answer a request: split it where it is long, call the model, check what came back."""

    @abstractmethod
    def from_row(self, row: Mapping[str, Any]) -> tuple[RequestT, str]:
        """A training or benchmark row as (request, the reply that the model should give).

        Raises:
            InputError: ``row_columns`` with the columns that were expected and those that were found.
        """
