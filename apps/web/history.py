"""Conversations that a browser keeps: the one that goes on, and those before it. Plain data, no Gradio here.

They lie in the browser's own storage and never on the server; whoever may use the browser may read them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.engines.base import Message
from pipelines.errors import InputError
from pipelines.text.conversation import export_conversation, import_conversation

__all__ = ["EMPTY", "MOST", "begun", "kept", "now", "recalled", "titles"]

MOST = 20
"""Conversations that are kept: a browser gives a page a few megabytes."""
_TITLE_LENGTH = 48
EMPTY: dict[str, Any] = {"now": [], "earlier": []}


def now(store: Any) -> list[Message]:
    """The conversation that goes on; none where the storage holds anything else than conversations."""
    return _sound(store)["now"]


def kept(store: Any, conversation: Sequence[Message]) -> dict[str, Any]:
    """The storage with the conversation as it is now."""
    after = [*conversation]
    return {"now": after, "earlier": [each for each in _sound(store)["earlier"] if each != after]}


def begun(store: Any, conversation: Sequence[Message] = ()) -> dict[str, Any]:
    """The storage with another conversation going on, the one before among the earlier ones.

    Args:
        store: What the browser keeps.
        conversation: How the new one begins.
    """
    sound = _sound(store)
    before, after = sound["now"], [*conversation]
    earlier = [each for each in sound["earlier"] if each not in (before, after)]
    return {"now": after, "earlier": [*([before] if before and before != after else []), *earlier][:MOST]}


def recalled(store: Any, place: int) -> dict[str, Any]:
    """The storage with an earlier conversation going on.

    Args:
        store: What the browser keeps.
        place: Which of ``titles``.
    """
    earlier = _sound(store)["earlier"]
    return begun(store, earlier[place]) if 0 <= place < len(earlier) else _sound(store)


def titles(store: Any) -> list[tuple[str, int]]:
    """How the earlier conversations begin, with their places, the latest first."""
    found = []
    for place, conversation in enumerate(_sound(store)["earlier"]):
        first = " ".join(conversation[0]["content"].split())
        found.append((first[:_TITLE_LENGTH] + ("…" if len(first) > _TITLE_LENGTH else ""), place))
    return found


def _sound(store: Any) -> dict[str, Any]:
    """What the browser sent, as far as it is conversations: anybody can write into a browser's storage."""
    store = store if isinstance(store, Mapping) else {}
    earlier = store.get("earlier")
    return {
        "now": _conversation(store.get("now")),
        "earlier": [each for item in (earlier if isinstance(earlier, list) else []) if (each := _conversation(item))],
    }


def _conversation(turns: Any) -> list[Message]:
    try:
        return [dict(turn) for turn in import_conversation(export_conversation(turns))]
    except (InputError, TypeError, ValueError):
        return []
