"""Words of any script: what all metrics but those of sacrebleu count."""

import re
from collections.abc import Sequence

__all__ = ["SIGNATURE", "UnicodeTokenizer", "grams", "holds", "words"]

SIGNATURE = "words:unicode"
"""How signatures name these words."""

_SINGLE = (
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\U00020000-\U0003ffff]"
)
"""Scripts without spaces, and Korean, whose words carry endings: each character is a word of its own."""
_MARK = "[\u0300-\u036f\u0591-\u05c7\u064b-\u0655\u0900-\u0903\u093a-\u094f\u0980-\u0d7f]"
_WORDS = re.compile(f"{_SINGLE}|(?:(?!{_SINGLE})(?:[^\\W_]|{_MARK}))+")


def words(text: str) -> list[str]:
    """Words in lower case; Chinese, Japanese, Korean, Thai, Lao, Burmese and Khmer by character."""
    return _WORDS.findall(text.lower())


class UnicodeTokenizer:
    """``words`` for rouge_score.

    Its own tokenizer knows a to z and 0 to 9: two identical Chinese texts score 0, and ``café`` is ``caf``.
    """

    def tokenize(self, text: str) -> list[str]:
        """See ``words``."""
        return words(text)


def grams(found: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n words, in order."""
    return [tuple(found[start : start + n]) for start in range(len(found) - n + 1)]


def holds(found: Sequence[str], span: Sequence[str]) -> bool:
    """Whether these words stand in a row somewhere."""
    return any(found[start : start + len(span)] == span for start in range(len(found) - len(span) + 1))
