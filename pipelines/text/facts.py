"""Numbers and names of a summary that its source does not hold: the cheap, certain part of checking facts.

A summary may leave things out; it may not bring things in. What is listed here was brought in, or spelled differently.
"""

import re
import unicodedata
from dataclasses import dataclass

from pipelines.text.protect import numbers, protected

__all__ = ["Unsupported", "unsupported"]


@dataclass(frozen=True)
class Unsupported:
    """What a summary brought in.

    Attributes:
        numbers: As they stand in the summary.
        names: Capitalised words, acronyms, and Latin words in Chinese or Japanese text.
    """

    numbers: list[str]
    names: list[str]

    def __bool__(self) -> bool:
        return bool(self.numbers or self.names)


_WORD = re.compile(r"[^\W\d_]+(?:['’.-][^\W\d_]+)*\.?", re.UNICODE)
_LATIN = re.compile(r"[A-Za-zÀ-ÿ][A-Za-zÀ-ÿ.'’-]*[A-Za-zÀ-ÿ]")
_HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
# Behind these a capital letter starts a sentence, a heading, a quotation or a list entry and says nothing.
_STARTS_SENTENCE = re.compile(r"(?:^|[.!?…:。！？：\n•*#>-]|[\"“”«»„「『(\[—–-])\s*$")
_NEVER_NAMES = {"I", "I'm", "I've", "I'd", "I'll", "OK", "AM", "PM", "TV", "A", "The"}


def unsupported(summary: str, source: str, language: str = "") -> Unsupported:
    """Numbers and names in the summary that the source lacks, each once, in order.

    Comparison ignores case, accents' encoding and the separators of thousands ("1,000" is "1000").

    Args:
        summary: What to check.
        source: What it must rest on.
        language: Tag of the summary's language; in German, which capitalises every noun, only acronyms count as names.
    """
    known = numbers(source)
    listed: dict[str, None] = {}
    for item in protected(summary):
        if item.kind == "number" and not numbers(item.text) <= known:
            listed.setdefault(item.text)
    haystack = _folded(source)
    # A name of one or two letters is inside almost every text; it counts only as a word of its own.
    words = {
        _folded(form)
        for match in _WORD.finditer(unicodedata.normalize("NFKC", source))
        for form in (_bare(match.group()), *_LATIN.findall(match.group()))
    }
    names: dict[str, None] = {}
    for name in _names(summary, nouns_capitalised=language.split("-")[0] in ("de", "lb")):
        folded = _folded(name)
        if folded not in words and (len(folded) < 3 or folded not in haystack):
            names.setdefault(name)
    return Unsupported(list(listed), list(names))


def _names(text: str, nouns_capitalised: bool) -> list[str]:
    """Words that are names by their form."""
    text = unicodedata.normalize("NFKC", text)
    chinese = len(_HAN.findall(text)) > len(text) / 5
    found = []
    for match in _WORD.finditer(text):
        word = _bare(match.group())
        if chinese:
            found += _LATIN.findall(match.group())
        elif word in _NEVER_NAMES or not word[:1].isupper():
            continue
        elif sum(character.isupper() for character in word) > 1 or not (
            nouns_capitalised or _at_start(text, match.start())
        ):
            found.append(word)
    return found


def _bare(word: str) -> str:
    """A word without what belongs to the sentence: "Paris." and "Obama's" lose it, "U.S." keeps its stop."""
    word = word if re.fullmatch(r"(?:[^\W\d_]\.)+", word) else word.rstrip(".")
    return re.sub(r"['’][sS]?$", "", word)


def _at_start(text: str, index: int) -> bool:
    return bool(_STARTS_SENTENCE.search(text, max(0, index - 20), index)) or index == 0


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
