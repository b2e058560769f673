"""How much of a reply stands word for word in the training rows: what a model remembers instead of composing."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eval.metrics.words import grams, holds
from eval.metrics.words import words as tokenize

__all__ = ["Copied", "longest_copied"]

FEWEST = 4
"""Words from which a span counts: three in a row stand in any two texts of a language."""

Words = list[str]


@dataclass(frozen=True)
class Copied:
    """The longest span of a reply that a training reply has as well, and its own request has not.

    Attributes:
        words: Its length in words, characters in Chinese and other scripts without spaces; 0 where there is none.
        text: The span, its words joined by spaces.
    """

    words: int = 0
    text: str = ""


def longest_copied(replies: Sequence[str], requests: Sequence[str], training: Iterable[str]) -> list[Copied]:
    """Find the longest copied span of each reply.

    The training texts are read once; of each only those places are kept where four words stand that a reply has.

    Args:
        replies: What a model wrote.
        requests: What it was asked, one text for each reply: what it took from there is no memory.
        training: Replies that it was trained on.
    """
    written = [tokenize(text) for text in replies]
    wanted = {gram for words in written for gram in grams(words, FEWEST)}
    places: dict[tuple[str, ...], list[tuple[Words, int]]] = defaultdict(list)
    for text in training:
        words = tokenize(text)
        for start, gram in enumerate(grams(words, FEWEST)):
            if gram in wanted:
                places[gram].append((words, start))
    return [_longest(words, tokenize(request), places) for words, request in zip(written, requests, strict=True)]


def _longest(words: Words, request: Words, places: dict[tuple[str, ...], list[tuple[Words, int]]]) -> Copied:
    best: Words = []
    for start, gram in enumerate(grams(words, FEWEST)):
        for other, at in places.get(gram, ()):
            if start and at and words[start - 1] == other[at - 1]:
                continue  # the middle of a span that was looked at from its beginning
            length = _common(words, start, other, at)
            if length > len(best) and not holds(request, span := words[start : start + length]):
                best = span
    return Copied(len(best), " ".join(best))


def _common(words: Words, start: int, other: Words, at: int) -> int:
    length = FEWEST
    while start + length < len(words) and at + length < len(other) and words[start + length] == other[at + length]:
        length += 1
    return length
