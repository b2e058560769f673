"""What goes into a generation and what comes out of it: options, notes, the result."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["SCHEMA_VERSION", "FinishReason", "Generation", "GenerationOptions", "Note", "Timing", "Usage"]

SCHEMA_VERSION = 1
"""Version of the JSON form of a Generation; raised when a field changes its meaning."""

FinishReason = Literal["stop", "length", "deadline", "cancelled"]


class GenerationOptions(BaseModel):
    """How tokens are chosen and when to stop. ``None`` leaves the choice to the task's defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: Annotated[int, Field(ge=1, le=32768)] | None = None
    """Upper bound of generated tokens for each call of the model."""
    temperature: Annotated[float, Field(ge=0.0, le=5.0)] | None = None
    """0 is greedy decoding: the most likely token each time."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Sample from the smallest set of tokens whose probabilities reach this sum."""
    repetition_penalty: Annotated[float, Field(ge=1.0, le=2.0)] | None = None
    """Divides the scores of tokens that this reply already holds (CTRL, arXiv:1909.05858); 1 is off. The prompt's
    own tokens are left alone: a translation or summary has to repeat some of them."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """The same seed, model, machine and options give the same text."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Strings that end the text; they are not part of it."""
    deadline_s: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """Seconds for the whole request, all of its model calls together."""
    adapter: Annotated[str, Field(min_length=1)] | None = None
    """Name of a loaded adapter; ``base`` takes the model without one, None the one that the engine was loaded with."""

    def over(self, defaults: "GenerationOptions") -> "GenerationOptions":
        """These options where they are set, ``defaults`` elsewhere."""
        return defaults.model_copy(update=self.model_dump(exclude_unset=True, exclude_none=True))


@dataclass(frozen=True)
class Note:
    """Something a person should know of a result: what was split, dropped, retried, doubted.

    Attributes:
        code: Key of the sentence in ``pipelines/wording``.
        parameters: Values that the sentence shows, plain JSON data.
        span: Characters of the input (start, end) it speaks of, where it speaks of some.
    """

    code: str
    parameters: dict[str, Any] = field(default_factory=dict)
    span: tuple[int, int] | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens of all model calls that one request took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Timing:
    """Seconds from the request on. In a batch they run from the start of the batch."""

    first_token_s: float | None = None
    total_s: float = 0.0
    tokens_per_s: float = 0.0
    """Generated tokens of this request by ``total_s``."""


@dataclass(frozen=True)
class Generation:
    """The result of a request.

    Attributes:
        task: Name of the task.
        model: Model reference as it was given.
        text: The result. While streaming, exactly what was streamed.
        usage: Tokens read and written.
        timing: Seconds and tokens per second.
        finish_reason: ``stop`` (the model ended), ``length``, ``deadline`` or ``cancelled``.
        notes: Everything that was split, dropped, retried or doubted.
        variants: Where several were asked for: all of them, the best first (``text`` is the first).
        provenance: Model, prompt and engine this came from, with hashes.
    """

    task: str
    model: str
    text: str
    usage: Usage = Usage()
    timing: Timing = Timing()
    finish_reason: FinishReason = "stop"
    notes: list[Note] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data with a schema version, as ``cinquain run --json`` prints it."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}
