"""Chats between students who were paired at random (BYU, 2018): real, informal, with first names in them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from finetune.data.fetch.archives import Wheel
from finetune.data.fetch.description import Pin, PublicSet

__all__ = ["CHITCHAT"]

_MEMBER = "chitchat_dataset/dataset.json"
FEWEST_TURNS = 4
"""Below it a chat is a greeting: 775 of 4,018 chats with two speakers."""
LONGEST_TURN = 2_000
"""Characters. What is longer is no turn of a conversation: somebody writes on and on until the other one is back, up to
31,700 characters; the median is 61."""
MOST_REPEATS = 1 / 3
"""Share of messages that stood there before. Real chats stay below 0.3; four chats between 0.4 and 0.9 are "a", "f"."""


def _rows(wheels: Sequence[Wheel], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """One row per chat: who writes first is the user. Senders, times and ratings stay behind.

    Many chats answer a question that the site showed. It is no turn of theirs; the column ``topic`` has it.
    """
    (wheel,) = wheels
    chats = wheel.json(_MEMBER)
    if not isinstance(chats, dict):
        raise wheel.unexpected(_MEMBER, "it is no object of chats")
    for name, chat in chats.items():
        try:
            messages = [(message["sender"], message["text"].strip()) for group in chat["messages"] for message in group]
            topic = chat.get("prompt")
        except (KeyError, TypeError, AttributeError) as error:
            raise wheel.unexpected(_MEMBER, f"chat {name} has another form ({error!r})") from error
        reason, turns = _turns([message for message in messages if message[1]])
        if reason:
            left_out[reason] += 1
        else:
            yield {"messages": turns, "lang": "en", "topic": topic if isinstance(topic, str) else "", "doc": name}


def _turns(messages: list[tuple[str, str]]) -> tuple[str, list[dict[str, str]]]:
    """Why a chat is left out, or else its turns; messages that one person sends in a row are lines of one turn."""
    speakers = list(dict.fromkeys(sender for sender, _ in messages))
    if len(speakers) != 2:
        return "not_two_speakers", []
    roles = dict(zip(speakers, ("user", "assistant"), strict=True))
    turns = [
        {"role": roles[sender], "content": "\n".join(text for _, text in group)}
        for sender, group in groupby(messages, key=lambda message: message[0])
    ]
    if turns[-1]["role"] == "user":
        turns.pop()  # nobody answered it
    if len(turns) < FEWEST_TURNS:
        return "few_turns", []
    if max(len(turn["content"]) for turn in turns) > LONGEST_TURN:
        return "monologue", []
    distinct = {text.lower() for _, text in messages}
    if len(messages) - len(distinct) > MOST_REPEATS * len(messages):
        return "repeats", []
    return "", turns


CHITCHAT = PublicSet(
    name="chitchat",
    task="dialogue",
    licence="MIT",
    languages=("en",),
    rows=3_200,
    changes="Chats of two people only, messages in a row joined to one turn, the last unanswered turn left out; "
    "no senders, times and ratings.",
    read=_rows,
    pins=(
        Pin("chitchat-dataset==0.9.0", "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e", 8_105_664),
    ),
)
