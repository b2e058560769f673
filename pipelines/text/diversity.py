"""How different several texts are from one another, and an order that shows the difference first."""

import re
from collections.abc import Sequence
from itertools import combinations

__all__ = ["distinct_n", "farthest_first", "jaccard", "mean_similarity", "units"]

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# Chinese and Japanese: one character is one unit, as there are no spaces to split at.
_CHARACTER = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


def units(text: str, language: str = "en") -> list[str]:
    """Words of a text, or its characters in Chinese and Japanese, in lower case."""
    pattern = _CHARACTER if language.split("-")[0].lower() in ("zh", "ja", "yue") else _WORD
    return pattern.findall(text.lower())


def distinct_n(texts: Sequence[str], n: int = 2, language: str = "en") -> float:
    """Share of different n-grams among all those of the texts (Li et al., arXiv:1510.03055); 0 where there is none."""
    grams = [gram for text in texts for gram in _grams(text, n, language)]
    return len(set(grams)) / len(grams) if grams else 0.0


def jaccard(first: str, second: str, language: str = "en") -> float:
    """Shared word pairs of two texts by all their word pairs: 1 for the same text, 0 for nothing in common."""
    one, two = set(_grams(first, 2, language)), set(_grams(second, 2, language))
    if not one and not two:  # single words have no pairs
        return float(units(first, language) == units(second, language))
    return len(one & two) / len(one | two)


def mean_similarity(texts: Sequence[str], language: str = "en") -> float:
    """Mean Jaccard similarity over all pairs; 0 where there is no pair."""
    pairs = [jaccard(first, second, language) for first, second in combinations(texts, 2)]
    return sum(pairs) / len(pairs) if pairs else 0.0


def farthest_first(texts: Sequence[str], failures: Sequence[int], language: str = "en") -> list[int]:
    """An order of the texts: fewer failures first; among equals, each next one is the least like those before it.

    Args:
        texts: The texts.
        failures: How many checks each one failed.
        language: BCP 47 tag of the texts.

    Returns:
        Indices into ``texts``, the best first. Ties keep the order in which they came.
    """
    order: list[int] = []
    rest = list(range(len(texts)))
    while rest:
        fewest = min(failures[index] for index in rest)
        nearness = {
            index: max((jaccard(texts[index], texts[earlier], language) for earlier in order), default=0.0)
            for index in rest
            if failures[index] == fewest
        }
        chosen = min(nearness, key=lambda index: nearness[index])
        order.append(chosen)
        rest.remove(chosen)
    return order


def _grams(text: str, n: int, language: str) -> list[tuple[str, ...]]:
    words = units(text, language)
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
