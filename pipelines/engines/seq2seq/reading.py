"""From calls to rows: what an encoder–decoder model reads for each, how it is decoded, which rows run together."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipelines.engines.base import Call
from pipelines.errors import InputError
from pipelines.generation import GenerationOptions, Note
from pipelines.models.families import Advice, Family, Limits, Reading, advice_for
from pipelines.prompts import Message

if TYPE_CHECKING:
    from pipelines.engines.seq2seq.decoding import Row

__all__ = ["Reader", "Written", "groups"]


@dataclass(frozen=True)
class Written:
    """How instructions are written for a model, or were for an adapter.

    Attributes:
        template: Source of the chat template.
    """

    template: str


@dataclass
class Reader:
    """Turns calls into rows.

    Attributes:
        tokenizer: The model's.
        family: What the model is.
        limits: Lengths of encoder and decoder.
        said: The checkpoint's generation config.
        task_params: ``task_specific_params`` of its config.
        ending: Tokens that end a reply.
        num_beams: Beams that the person asked for; None for the checkpoint's.
    """

    tokenizer: Any
    family: Family
    limits: Limits
    said: Any
    task_params: dict[str, Any] | None
    ending: frozenset[int]
    num_beams: int | None

    def __post_init__(self) -> None:
        self._encoding = threading.Lock()  # the source language is a state of the tokenizer
        self._keeps_lines = "\n" in self.tokenizer.decode(self.encode("a\nb", special=False))

    def encode(self, text: str, source: str | None = None, *, special: bool = True) -> list[int]:
        """Token ids of a text in a source language."""
        with self._encoding:
            if source is not None:
                self.tokenizer.src_lang = source
            ids: list[int] = self.tokenizer(text, add_special_tokens=special)["input_ids"]
            return ids

    def instruction(self, messages: Sequence[Message], template: str) -> str:
        """A conversation as one text.

        Raises:
            InputError: ``model_chat_template`` where the template refuses this conversation.
        """
        from jinja2 import TemplateError

        try:
            text: str = self.tokenizer.apply_chat_template(
                list(messages), chat_template=template, add_generation_prompt=True, tokenize=False
            )
        except TemplateError as error:
            raise InputError("model_chat_template", model=self.family.model, reason=str(error).rstrip(".")) from error
        return text.strip()

    def read(self, call: Call, template: str) -> tuple[Reading, list[int]]:
        """What the model is given for a call, and its tokens.

        Raises:
            InputError: The model cannot do what the call asks.
        """
        instruction = self.instruction(call.messages, template) if self.family.instructed else ""
        reading = self.family.read(call.task, call.request, instruction)
        if reading.instruction and not self._keeps_lines and call.task in ("code_generation", "creative_writing"):
            reading = replace(reading, notes=(*reading.notes, Note("seq2seq_lines", {"model": self.family.model})))
        return reading, self.encode(reading.text, reading.source, special=reading.special)

    def row(self, call: Call, template: str, notes: tuple[Note, ...] = ()) -> "Row":
        """A call on its way.

        Args:
            call: The call; ``call.adapter`` is the key of the adapter that answers.
            template: How instructions are written.
            notes: What a person should know of every answer under this adapter.

        Raises:
            InputError: ``input_too_long``, or the model cannot do what the call asks.
        """
        from pipelines.engines.assembly import TextAssembler
        from pipelines.engines.seq2seq.decoding import Plan, Row

        reading, ids = self.read(call, template)
        reading = replace(reading, notes=(*notes, *reading.notes))
        if len(ids) > self.limits.encoder:
            raise InputError("input_too_long", tokens=len(ids), limit=self.limits.encoder)
        options = call.options
        temperature = options.temperature or 0.0
        advice = self._advice(call, reading)
        plan = Plan(
            adapter=call.adapter,
            start=reading.start,
            advice=replace(advice, num_beams=1) if temperature else advice,
            temperature=temperature,
            top_p=(options.top_p or 1.0) if temperature else 1.0,
            min_new_tokens=advice.shortest(len(ids)),
        )
        room = self.limits.decoder - len(reading.start)
        limit = min(options.max_new_tokens or room, room)
        return Row(call, reading, ids, plan, limit, self.ending, TextAssembler(self.tokenizer, options.stop))

    def _advice(self, call: Call, reading: Reading) -> Advice:
        """The checkpoint's decoding, with what the person asked for on top."""
        advice = advice_for(reading.advice, self.said, self.task_params, instruction=reading.instruction)
        if self.num_beams:
            advice = replace(advice, num_beams=self.num_beams)
        if (penalty := _asked_penalty(call, reading.instruction)) is not None:
            advice = replace(advice, repetition_penalty=penalty)
        return advice


def groups(rows: Sequence["Row"], token_budget: int) -> list[list["Row"]]:
    """Rows that run together: same plan, similar length, within the budget of encoder tokens (beams included)."""
    plans = list(dict.fromkeys(row.plan for row in rows))
    found: list[list[Row]] = []
    # The longest first: if memory does not suffice, that shows at once and not after an hour.
    for row in sorted(rows, key=lambda row: (plans.index(row.plan), -len(row.ids))):
        group = found[-1] if found else []
        full = group and (len(group) + 1) * len(group[0].ids) * row.plan.advice.num_beams > token_budget
        if group and group[0].plan == row.plan and not full:
            group.append(row)
        else:
            found.append([row])
    return found


def _asked_penalty(call: Call, instruction: bool) -> float | None:
    """The repetition penalty that a person set; None where it is the task's default.

    The tasks' own values were measured on small chat models. A model that was trained for the task brings its own.
    """
    from pipelines.tasks import TASKS

    asked = call.options.repetition_penalty
    default = TASKS[call.task].defaults if call.task in TASKS else GenerationOptions()
    return asked if instruction or asked != default.repetition_penalty else None
