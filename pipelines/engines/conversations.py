"""States of conversations that may go on: a chat's next turn reads only what is new.

A conversation repeats exactly: asked again with the same seed, a turn begins at the place where it began the first
time, so that the same arithmetic is done. Only if its states were given up meanwhile is the whole conversation read
again, in larger pieces, and the last bits of the numbers may differ.
"""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Conversation", "Conversations"]

SMALLEST = 32
"""Tokens from which it is worth going on instead of reading again."""


@dataclass
class Conversation:
    """A conversation that was read and answered.

    Attributes:
        adapter: The adapter under which its states were computed.
        tokens: What the states are of: prompt and reply.
        cache: The states.
        prompt: How many of the tokens were the last prompt.
        places: Where earlier turns went on.
    """

    adapter: str | None
    tokens: list[int]
    cache: Any
    prompt: int
    places: list[int] = field(default_factory=list)

    def place(self, tokens: list[int]) -> int:
        """Where a prompt can go on in these states; 0 where it cannot.

        Within the last reply anywhere, as a chat template may write its end in other tokens than the model did. Within
        what was a prompt only where a turn went on before: a question that is asked again is then read as the first
        time.
        """
        common = _common(self.tokens, tokens)
        places = [place for place in self.places if place <= common]
        if common > self.prompt:
            places.append(common)
        return max((place for place in places if SMALLEST <= place < len(tokens)), default=0)


class Conversations:
    """Keeps the conversations that were used last.

    Args:
        capacity: Bytes of states that are kept.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: list[Conversation] = []

    def take(self, adapter: str | None, tokens: list[int]) -> tuple[Conversation, int] | None:
        """The conversation that a prompt goes on with, and from which token on; it is the caller's until ``put``."""
        places = [(each.place(tokens) if each.adapter == adapter else 0) for each in self._kept]
        best = max(range(len(places)), key=places.__getitem__, default=None)
        if best is None or not places[best]:
            return None
        return self._kept.pop(best), places[best]

    def put(self, conversation: Conversation) -> None:
        """Keep a conversation in place of the one it repeats or extends."""
        self._kept = [each for each in self._kept if not _supersedes(conversation, each)]
        self._kept.append(conversation)
        while self._kept and sum(each.cache.nbytes for each in self._kept) > self._capacity:
            self._kept.pop(0)

    def forget(self, adapter: str) -> None:
        """Give up what was computed under an adapter."""
        self._kept = [each for each in self._kept if each.adapter != adapter]

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


def _supersedes(new: Conversation, old: Conversation) -> bool:
    return new.adapter == old.adapter and _common(new.tokens, old.tokens) >= min(new.prompt, old.prompt)


def _common(first: list[int], second: list[int]) -> int:
    """Length of the beginning that two lists share."""
    most = min(len(first), len(second))
    if first[:most] == second[:most]:
        return most
    return next(place for place in range(most) if first[place] != second[place])
