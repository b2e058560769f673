"""Dialogue: answer the last turn of a conversation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, model_validator

from pipelines.engines.base import Message
from pipelines.errors import InputError
from pipelines.generation import GenerationOptions
from pipelines.prompts import Prompt
from pipelines.requests import TaskRequest, Text, validate
from pipelines.tasks.base import Run, Step, Steps, Stopped, Task
from pipelines.text.conversation import Turn, check_order

__all__ = ["Dialogue", "DialogueRequest"]

_TOKENS = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|user|>", "<|assistant|>",
    "<|end|>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]",
)  # fmt: skip
"""Marks of common chat templates, written out as text by models that were trained with another one."""

_ROLES = ("User", "Human", "Assistant", "用户", "助手")

_OPENERS = (
    "<|im_start|>assistant", "<|start_header_id|>assistant<|end_header_id|>", "<|assistant|>", "Assistant:", "助手：",
)  # fmt: skip
"""What some models repeat before they begin their turn."""

_SHAREGPT = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


class DialogueRequest(TaskRequest):
    """A conversation that waits for an answer.

    Attributes:
        messages: Turns of user and assistant, the last one from the user; a system message may stand first.
        persona: Who the model is to be, in a sentence or two.
        system: A whole system message, used as it is.
    """

    messages: Annotated[tuple[Turn, ...], Field(min_length=1)]
    persona: Text | None = None
    system: Text | None = None

    @model_validator(mode="after")
    def _checked(self) -> "DialogueRequest":
        check_order(self.messages)
        if self.messages[-1].role != "user":
            raise InputError("dialogue_last_turn", found=self.messages[-1].role)
        given = {"persona": self.persona, "system": self.system, "a system message": self.messages[0].role == "system"}
        systems = [name for name, value in given.items() if value]
        if len(systems) > 1:
            raise InputError("dialogue_two_systems", found=systems)
        return self

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns without the system message."""
        return self.messages[self.messages[0].role == "system" :]


class Dialogue(Task[DialogueRequest]):
    """Converse."""

    name = "dialogue"
    request_type = DialogueRequest
    defaults = GenerationOptions(max_new_tokens=512, temperature=0.7, top_p=0.9, repetition_penalty=1.05)
    metrics = ("context_recall", "distinct_1", "distinct_2", "self_repetition", "echo", "role_leak", "loop", "empty")
    text_fields = ("messages", "persona", "system")

    def fields_from_text(self, text: str) -> dict[str, Any]:
        """The text is the user's first turn."""
        return {"messages": [{"role": "user", "content": text}]}

    def messages(self, request: DialogueRequest, prompt: Prompt) -> list[Message]:
        """System message, examples for a base model, then the turns as they are."""
        first = request.messages[0]
        if request.system or first.role == "system":
            system = request.system or first.content
        else:
            system = prompt.render("system", {"persona": request.persona or ""})
        turns: list[Message] = [{"role": "system", "content": system}] if system else []
        if not (request.system or request.persona or first.role == "system"):
            for example in prompt.examples.get("any", []):  # earlier turns: a base model goes on as they did
                turns.append({"role": "user", "content": example.fields["message"]})
                turns.append({"role": "assistant", "content": example.reply})
        return turns + [{"role": turn.role, "content": turn.content} for turn in request.turns]

    def parse(self, reply: str, request: DialogueRequest, *, complete: bool = True) -> str:
        """The model's own turn: a label before it and other speakers' turns after it are taken off."""
        return _own_turn(reply, _markers(request), complete)[0]

    def steps(self, request: DialogueRequest, run: Run) -> Steps:
        """One call with as much of the conversation as fits."""
        windowed = self._window(request, run)
        call = run.call(self.messages(windowed, run.prompt), windowed, goes_on=True)
        # What the whole conversation mentions is no leak, also where the window lost it.
        markers = _markers(request)
        stopped = False
        try:
            (completion,) = yield Step([call], show=lambda reply, complete: _own_turn(reply, markers, complete)[0])
        except Stopped as stop:
            (completion,), stopped = stop.completions, True
        text, leaked = _own_turn(completion.text, markers, True)
        if leaked:
            run.note("role_leak", characters=len(leaked), begin=leaked.split("\n")[0][:40])
        if not text and not stopped:
            run.note("dialogue_empty_reply")

    def from_row(self, row: Mapping[str, Any]) -> tuple[DialogueRequest, str]:
        """Columns ``messages`` or ``turns``, ShareGPT's ``conversations``, or ``prompt`` and ``response``.

        The reply is the last turn of the assistant. A user turn after it has no answer to learn from and is left out.
        """
        turns = _row_turns(row)
        while turns and turns[-1].get("role") == "user":
            turns = turns[:-1]
        if len(turns) < 2 or turns[-1].get("role") != "assistant":
            raise InputError("dialogue_row_without_reply", found=[str(turn.get("role")) for turn in turns][-4:])
        fields: dict[str, Any] = {name: row[name] for name in ("persona", "system") if row.get(name)}
        request = validate(DialogueRequest, {**fields, "messages": turns[:-1]}, self.name)
        return request, validate(Turn, turns[-1], self.name).content

    def _window(self, request: DialogueRequest, run: Run) -> DialogueRequest:
        """The request with its oldest exchanges dropped until the reply has room; the last turn always stays whole."""
        system = request.messages[: len(request.messages) - len(request.turns)]
        turns = request.turns
        # A reply that may fill the whole context would leave no room for what it answers: it gets half at most.
        reserved = min(run.options.max_new_tokens or 0, run.engine.context_length // 2)

        def without(exchanges: int) -> DialogueRequest:
            return request.model_copy(update={"messages": (*system, *turns[2 * exchanges :])})

        low, high = 0, len(turns) // 2  # bisection: counting tokens of a long conversation takes a while
        while low < high:
            middle = (low + high) // 2
            if run.room(self.messages(without(middle), run.prompt), request).fits(reserved):
                high = middle
            else:
                low = middle + 1
        if low:
            dropped = turns[: 2 * low]
            characters = sum(len(turn.content) for turn in dropped)
            run.note("turns_dropped", count=len(dropped), characters=characters, first=1, last=len(dropped))
        return without(low)


@dataclass(frozen=True)
class _Markers:
    """What gives another speaker away: template marks anywhere, role labels where a line starts, labels before all."""

    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    openers: tuple[str, ...]


def _markers(request: DialogueRequest) -> _Markers:
    """The marks that would be a leak in the answer to this request.

    Those that the user wrote are none: a reply may speak of them, or go on with a play whose character is "User:".
    """
    asked = [turn.content for turn in request.messages if turn.role != "assistant"]
    text = "\n".join([*asked, request.persona or "", request.system or ""]).lower()
    shapes = ("{}:", "{}：", "**{}:", "**{}：", "**{}**:", "**{}**：")
    return _Markers(
        tokens=tuple(token for token in _TOKENS if token.lower() not in text),
        labels=tuple(shape.format(role) for role in _ROLES if role.lower() not in text for shape in shapes),
        openers=tuple(opener for opener in _OPENERS if opener.lower() not in text),
    )


def _own_turn(reply: str, markers: _Markers, complete: bool) -> tuple[str, str]:
    """(the model's own turn, what was cut off behind it); of a growing reply, what no further token can change."""
    body = reply.lstrip()
    if not complete and any(opener.startswith(body) for opener in markers.openers):
        return "", ""
    opener = next((opener for opener in markers.openers if body.startswith(opener)), "")
    body = body[len(opener) :].lstrip()
    end = _first_marker(body, markers)
    if end is not None:
        return body[:end].rstrip(), body[end:].strip()
    held = 0
    if not complete:
        line = body[body.rfind("\n") + 1 :]
        if any(label.startswith(line) for label in markers.labels):
            held = len(line)
        starts = (token[:length] for token in markers.tokens for length in range(1, len(token)))
        held = max(held, max((len(start) for start in starts if body.endswith(start)), default=0))
    return body[: len(body) - held].rstrip(), ""


def _first_marker(body: str, markers: _Markers) -> int | None:
    found = [position for token in markers.tokens if (position := body.find(token)) >= 0]
    position, in_code = 0, False
    for line in body.split("\n"):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        if position and not in_code and line.startswith(markers.labels):
            found.append(position)
            break
        position += len(line) + 1
    return min(found, default=None)


def _row_turns(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    for column in ("messages", "turns", "conversations"):
        turns = row.get(column)
        if isinstance(turns, list | tuple) and all(isinstance(turn, Mapping) for turn in turns):
            if column == "conversations" and all("from" in turn for turn in turns):
                turns = [{"role": _SHAREGPT.get(turn["from"]), "content": turn.get("value")} for turn in turns]
            return [{"role": turn.get("role"), "content": turn.get("content")} for turn in turns]
    if {"prompt", "response"} <= row.keys():
        return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]
    expected = ["messages", "or turns", "or conversations", "or prompt and response"]
    raise InputError("row_columns", task="dialogue", expected=expected, found=list(row))
