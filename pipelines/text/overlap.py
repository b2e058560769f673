"""Which texts of one set stand in another: thirteen words in a row that both hold, or a shorter text as a whole."""

import re
from collections.abc import Iterable, Iterator

__all__ = ["OverlapIndex"]

_GRAM = 13
"""Words of a sequence that no two authors write by chance: GPT-3's choice (arXiv:2005.14165, appendix C)."""
_SHORTEST_WITHIN = 8
"""Words from which a text shorter than that is looked for inside others (the same appendix's lower bound). Characters
of Chinese are no words: eight of them are a phrase."""
_SHORTEST = 5
"""Words from which an even shorter text counts where it is a whole one; "Yes." must not match every yes."""

# A word, or one character of a script without spaces.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]|[^\W_]+")


class OverlapIndex:
    """Texts that are looked for in others.

    Args:
        texts: (place, text) of each; the place of the first of equal ones counts.
    """

    def __init__(self, texts: Iterable[tuple[str, str]]) -> None:
        self._within: dict[int, dict[int, str]] = {}  # number of words → hash of so many in a row → place
        self._whole: dict[int, str] = {}
        for place, text in texts:
            words = _words(text)
            count = min(len(words), _GRAM)
            if count == _GRAM or (count >= _SHORTEST_WITHIN and sum(map(len, words)) > 2 * count):
                known = self._within.setdefault(count, {})
                for gram in _grams(words, count):
                    known.setdefault(gram, place)
            elif count >= _SHORTEST:
                self._whole.setdefault(next(_grams(words, count)), place)

    def places(self, text: str) -> Iterator[str]:
        """Places of the texts that stand in this one; the same place may come more than once."""
        words = _words(text)
        for count, known in self._within.items():
            yield from (known[gram] for gram in _grams(words, count) if gram in known)
        if self._whole:
            yield from (self._whole[gram] for gram in _grams(words, len(words)) if gram in self._whole)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _grams(words: list[str], count: int) -> Iterator[int]:
    """Hashes of all sequences of so many words."""
    import xxhash

    for start in range(len(words) - count + 1):
        yield xxhash.xxh3_64_intdigest(" ".join(words[start : start + count]).encode())
