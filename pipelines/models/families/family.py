"""What an encoder–decoder model is asked, and how: the text that its encoder reads, the tokens its decoder starts with.

These models read no conversation. A translation model reads the text, and learns of the languages by a code somewhere;
a summarizer reads the text alone. What else a request asks for (formality, focus, length) such a model cannot follow,
and the person is told so.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from pipelines.errors import InputError
from pipelines.generation import Note
from pipelines.models.families.codes import Languages, Match

__all__ = ["INSTRUCTION_TEMPLATE", "Family", "Reading"]

LISTED = 8
"""Languages that an error names; some models know 400."""

INSTRUCTION_TEMPLATE = (
    "{% set talk = messages | selectattr('role', 'equalto', 'assistant') | list | length > 0 %}"
    "{% for message in messages %}"
    "{% if talk and message['role'] == 'user' %}User: {% elif message['role'] == 'assistant' %}Assistant: {% endif %}"
    "{{ message['content'] }}\n\n{% endfor %}{% if talk %}Assistant:{% endif %}"
)
"""How a conversation is written for a text-to-text model that has no template of its own (Flan-T5): the messages one
after another; who speaks is said only where there is more than one speaker."""

Manner = Literal["fixed", "tag", "forced", "start"]


@dataclass(frozen=True)
class Reading:
    """What a model is given for one call.

    Attributes:
        text: For the encoder.
        start: Tokens that the decoder starts with.
        source: Code that the tokenizer is told as ``src_lang``; None where it takes none.
        special: Whether the tokenizer adds its special tokens to the text.
        advice: Key of the task in ``task_specific_params``.
        instruction: Whether the text is an instruction, not the input of a task that the model was trained for.
        notes: What of the request the model cannot follow.
    """

    text: str
    start: tuple[int, ...]
    source: str | None = None
    special: bool = True
    advice: str = ""
    instruction: bool = False
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Family:
    """A model as one of its family.

    Attributes:
        name: ``marian``, ``m2m100``, ``nllb``, ``mbart``, ``madlad``, ``t5`` or ``summarizer``.
        model: Reference, for errors.
        tasks: What it was trained for.
        start: Tokens that every reply starts with, before any code of a language.
        instructed: Whether it can be asked anything else in words.
        manner: How it learns of the target: not at all (``fixed``), by a tag before the text, by a token that is forced
            as the first of the reply, or by the one that starts the decoder.
        tag: The tag, ``{}`` for the code.
        tokens: Token of each target's code, for ``forced`` and ``start``.
        sources: Languages that it reads; none where its files do not say or name a group.
        targets: Languages that it writes; none where its files do not say.
        told_source: Whether it must be told the source.
        pairs: T5: prefix of each pair of codes.
        prefixes: Prefix of other tasks.
        own_template: Whether instructions go through the chat template of the tokenizer itself.
    """

    name: str
    model: str
    tasks: tuple[str, ...]
    start: tuple[int, ...]
    instructed: bool = False
    manner: Manner = "fixed"
    tag: str = ""
    tokens: dict[str, int] = field(default_factory=dict)
    sources: Languages = field(default_factory=lambda: Languages(()))
    targets: Languages = field(default_factory=lambda: Languages(()))
    told_source: bool = False
    pairs: dict[tuple[str, str], str] = field(default_factory=dict)
    prefixes: dict[str, str] = field(default_factory=dict)
    own_template: bool = False

    def check_task(self, task: str) -> None:
        """Refuse a task that the model was not trained for.

        Raises:
            InputError: ``model_task``.
        """
        if not self.instructed and task not in self.tasks:
            raise InputError("model_task", model=self.model, task=task, tasks=list(self.tasks))

    def read(self, task: str, request: BaseModel | None, instruction: str) -> Reading:
        """What the model is given.

        Args:
            task: Name of the task.
            request: Its validated request.
            instruction: The call's messages in words, for a model that reads them.

        Raises:
            InputError: ``seq2seq_needs_request``, or a language that the model does not know.
        """
        if request is not None and task in self.tasks:
            reading = self._translation(request) if task == "translation" else self._plain(task, request)
            # A model that reads instructions can be told what its prefix has no words for.
            if reading and not (reading.notes and self.instructed):
                return reading
        if not self.instructed:
            raise InputError("seq2seq_needs_request", model=self.model)
        return Reading(instruction, self.start, special=not self.own_template, instruction=True)

    def _plain(self, task: str, request: BaseModel) -> Reading:
        """The text behind the prefix of its task."""
        text = self.prefixes.get(task, "") + str(getattr(request, "text", ""))
        return Reading(text, self.start, advice=task, notes=_unfollowed(self.model, request, {"text"}))

    def _translation(self, request: Any) -> Reading | None:
        """The text with its languages named as this model wants them; None where it must be asked in words."""
        notes = _unfollowed(self.model, request, {"text", "source", "target"})
        if "translation" in self.prefixes:
            return Reading(self.prefixes["translation"] + request.text, self.start, advice="translation", notes=notes)
        if self.pairs:
            return self._pair(request, notes)
        target = self._target(request.target, self.targets)
        source = self._source(request.source)
        if target is None:
            notes += (Note("seq2seq_pair_unstated", {"model": self.model, "target": request.target}),)
        elif not target.exact:
            variant = {"model": self.model, "asked": request.target, "known": target.tag}
            notes += (Note("seq2seq_variant", variant),)
        text, start = request.text, self.start
        if target and self.manner == "tag":
            text = self.tag.format(target.code) + text
        elif target and self.manner == "forced":
            start += (self.tokens[target.code],)
        elif target and self.manner == "start":
            start = (self.tokens[target.code],)
        return Reading(text, start, source, advice="translation", notes=notes)

    def _pair(self, request: Any, notes: tuple[Note, ...]) -> Reading | None:
        """T5: the prefix of the pair."""
        pairs = self.pairs
        if request.source != "auto":
            source = self.sources.find(request.source)
            pairs = {pair: prefix for pair, prefix in pairs.items() if source and pair[0] == source.code}
        target = Languages(code for _, code in pairs).find(request.target)
        found = [pair for pair in pairs if target and pair[1] == target.code]
        if len(found) == 1:
            # The person who did not name the source, and whose text does not tell, has only one choice here.
            text = pairs[found[0]] + request.text
            return Reading(text, self.start, advice="translation_{}_to_{}".format(*found[0]), notes=notes)
        if self.instructed:
            return None
        if found:
            raise InputError("seq2seq_source_needed", model=self.model)
        self._source(request.source)
        self._target(request.target, Languages(code for _, code in pairs))
        raise AssertionError(f"{self.model}: {request.source} to {request.target} is in {pairs}")

    def _target(self, asked: str, known: Languages) -> Match | None:
        match = known.find(asked)
        if known and match is None:
            nearest = known.nearest(asked)
            raise InputError(
                "seq2seq_target", model=self.model, asked=asked, known=nearest[:LISTED], count=len(nearest)
            )
        return match

    def _source(self, asked: str) -> str | None:
        """Code of the source for the tokenizer, where it takes one."""
        if asked == "auto":
            if self.told_source and len(self.sources.tags) > 1:
                raise InputError("seq2seq_source_needed", model=self.model)
            return next(iter(self.sources.tags)) if self.told_source else None
        match = self.sources.find(asked)
        if self.sources and match is None:
            nearest = self.sources.nearest(asked)
            raise InputError(
                "seq2seq_source", model=self.model, asked=asked, known=nearest[:LISTED], count=len(nearest)
            )
        return match.code if match and self.told_source else None


def _unfollowed(model: str, request: BaseModel, followed: set[str]) -> tuple[Note, ...]:
    """A note on the fields that were set and that the model has no ear for."""
    wanted = [
        name
        for name, about in type(request).model_fields.items()
        if name not in followed
        and not about.is_required()
        and getattr(request, name) != about.get_default(call_default_factory=True)
    ]
    return (Note("seq2seq_unfollowed", {"model": model, "fields": wanted}),) if wanted else ()
