"""Conversations as data: turns, their order, and files to keep them in."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pipelines.errors import InputError
from pipelines.requests import MAX_CHARACTERS, Text

__all__ = ["SCHEMA_VERSION", "Turn", "check_order", "export_conversation", "import_conversation"]

SCHEMA_VERSION = 1
"""Version of the exported files."""

Role = Literal["system", "user", "assistant"]

_TITLES: dict[str, Role] = {"## System": "system", "## User": "user", "## Assistant": "assistant"}
_MARKDOWN_HEAD = re.compile(r"<!-- cinquain conversation, version (\d{1,6}) -->\Z")
# A line of a turn that would read as a heading gets a backslash in front; one that has backslashes there gets one more.
_LIKE_TITLE = re.compile(r"(?m)^(?=\\*## (?:System|User|Assistant)$)")
_ESCAPED_TITLE = re.compile(r"(?m)^\\(?=\\*## (?:System|User|Assistant)$)")


class Turn(BaseModel):
    """What one side said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    content: Text


def check_order(turns: Sequence[Turn]) -> None:
    """A system message only at the start, then user and assistant in turn, the user first.

    Raises:
        InputError: ``dialogue_order`` with the position (from 1) that is wrong.
    """
    expected: Role = "user"
    for position, turn in enumerate(turns, start=1):
        if turn.role == "system" and position == 1:
            continue
        if turn.role != expected:
            raise InputError("dialogue_order", position=position, expected=expected, found=turn.role)
        expected = "assistant" if expected == "user" else "user"


def export_conversation(messages: Iterable[Turn | Mapping[str, Any]], format: str = "json") -> str:  # noqa: A002 - the word of the command line
    """A conversation as the text of a file that ``import_conversation`` reads back exactly.

    Args:
        messages: The turns, in order; the last one may be of either side.
        format: ``json``, or ``markdown`` for people to read.
    """
    turns = _turns([turn.model_dump() if isinstance(turn, Turn) else dict(turn) for turn in messages])
    if format == "json":
        content = {"schema_version": SCHEMA_VERSION, "messages": [turn.model_dump() for turn in turns]}
        return json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    if format != "markdown":
        raise InputError("field_choice", field="format", choices="'json' or 'markdown'", found=repr(format))
    parts = [f"<!-- cinquain conversation, version {SCHEMA_VERSION} -->\n"]
    parts += [f"\n## {turn.role.title()}\n\n{_LIKE_TITLE.sub(_backslash, turn.content)}\n" for turn in turns]
    return "".join(parts)


def import_conversation(text: str) -> list[dict[str, str]]:
    """The turns of an exported conversation.

    Raises:
        InputError: It is no such file, from a later version, or holds turns that cannot be.
    """
    if len(text) > 2 * MAX_CHARACTERS:
        raise InputError("text_too_large", field="conversation", characters=len(text), limit=2 * MAX_CHARACTERS)
    text = text.removeprefix("\ufeff")
    first = text.split("\n", 1)[0]
    if first.endswith("\r"):  # saved by an editor on Windows
        text, first = text.replace("\r\n", "\n"), first[:-1]
    if head := _MARKDOWN_HEAD.match(first):
        version, turns = int(head[1]), _from_markdown(text)
    else:
        version, turns = _from_json(text)
    if version != SCHEMA_VERSION:
        raise InputError("conversation_version", found=version, known=SCHEMA_VERSION)
    return [turn.model_dump() for turn in _turns(turns)]


def _turns(messages: Any) -> list[Turn]:
    try:
        turns = TypeAdapter(list[Turn]).validate_python(messages)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in ("messages", *first["loc"]))
        raise InputError("conversation_turn", field=where, problem=first["msg"]) from None
    check_order(turns)
    return turns


def _from_json(text: str) -> tuple[Any, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):  # RecursionError: a thousand brackets
        raise InputError("conversation_format", found=text[:40]) from None
    if not isinstance(content, dict) or not {"schema_version", "messages"} <= content.keys():
        raise InputError("conversation_format", found=text[:40])
    return content["schema_version"], content["messages"]


def _from_markdown(text: str) -> list[dict[str, str]]:
    turns: list[dict[str, str]] = []
    lines: list[str] = []
    for line in [*text.split("\n")[1:], "## User"]:  # the last one ends the turn before it
        if line not in _TITLES:
            lines.append(line)
            continue
        # Around a turn's content stand a blank line before it, and one after it (at the end of the file, too).
        content = "\n".join(lines[1:-1])
        if turns:
            turns[-1]["content"] = _ESCAPED_TITLE.sub("", content)
        elif content.strip():
            raise InputError("conversation_format", found=content.strip()[:40])
        turns.append({"role": _TITLES[line], "content": ""})
        lines = []
    return turns[:-1]


def _backslash(_match: re.Match[str]) -> str:
    return "\\"
