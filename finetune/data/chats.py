"""Turns of a chat, in the ways that data sets write them."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["CHATS", "exchange", "turns_of"]

CHATS = ("messages", "conversations", "conversation", "turns")
"""Columns that hold the turns of a chat."""

_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "ai": "assistant",
}


def turns_of(data: Mapping[str, Any], columns: tuple[str, ...] = CHATS) -> list[dict[str, Any]] | None:
    """The turns in a record as role and content; None where no column holds any.

    ``role`` and ``content`` (OpenAI; content also in parts of text), ``from`` and ``value`` (ShareGPT), and the same as
    JSON in a text, as a CSV file has to hold it; also parted into the turns of ``prompt`` and ``completion``.
    """
    for column in columns:
        turns = data.get(column)
        if isinstance(turns, str) and turns.lstrip().startswith("["):
            try:
                turns = json.loads(turns)
            except (ValueError, RecursionError):
                continue
        if isinstance(turns, list) and turns and all(isinstance(turn, Mapping) for turn in turns):
            return [_turn(turn) for turn in turns]
    prompt, completion = data.get("prompt"), data.get("completion")
    if isinstance(prompt, list) and isinstance(completion, list) and "messages" not in data:
        return turns_of({"messages": [*prompt, *completion]})
    return None


def exchange(turns: list[dict[str, Any]] | None) -> tuple[str, str] | None:
    """Question and answer of a chat that is no more than that; a system message before it is not the task's."""
    said = [(turn["role"], turn["content"]) for turn in turns or [] if turn["role"] != "system"]
    if [role for role, _ in said] == ["user", "assistant"]:
        return said[0][1], said[1][1]
    return None


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    role = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
        content = "\n".join(str(part.get("text", "")) for part in content)
    return {"role": _ROLES.get(role, role) if isinstance(role, str) else role, "content": content}
