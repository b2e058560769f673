"""Does a text have the form that was asked for? Facts about it, no judgement of its quality."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

__all__ = ["Form", "FormFact", "Length", "check_form", "syllables"]

Form = Literal["free", "poem", "haiku", "story", "script", "song", "letter", "email"]
Length = Literal["short", "medium", "long"]

HAIKU = (5, 7, 5)

FEWEST_LINES = {"poem": 4, "song": 8}
"""Two couplets; a verse and a chorus of four lines each."""

FEWEST_WORDS: dict[Length | None, int] = {"short": 40, None: 80, "medium": 80, "long": 250}
"""Below these a story is a synopsis. In Chinese each character counts as a word."""

_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_SUBJECT = re.compile(
    r"\W*(?:subject|betreff|objet|asunto|oggetto|assunto|onderwerp|主题|主旨|标题|件名)\W*[:：]", re.IGNORECASE
)
_GREETING = re.compile(
    r"(?:dear|hi|hello|hey|greetings|good (?:morning|afternoon|evening)|to whom|liebe[rs]?|sehr geehrte[rs]?|hallo"
    r"|bonjour|salut|ch[eè]re?s?|hola|estimad[oa]s?|querid[oa]s?|car[oaie]|gentile|olá|prezad[oa]s?)\b"
    r"|您好|你好|尊敬的|亲爱的|敬爱的",
    re.IGNORECASE,
)
_SPEAKER = re.compile(r"\s*[*_]*([A-Z\u3400-\u9fff][\w .'’-]{0,30}?)[*_]*\s*(?:[(（][^)）]*[)）])?[*_]*\s*[:：]")
_SILENT_E = re.compile(r"[^aeiouytd]ed$|[^aeiouyshxzcgl]es$|[aeiouy]les$|[tp]hes$")
_CUE = re.compile(r"\s*([A-Z][A-Z .'’-]{1,30})(?:\([^)]*\))?\s*")


@dataclass(frozen=True)
class FormFact:
    """One thing that a form asks for.

    Attributes:
        check: What was looked at: ``lines``, ``syllables_line_1``, ``words``, ``subject``, ``greeting``, ``speakers``.
        expected: What the form asks for.
        found: What the text has.
        ok: They agree.
    """

    check: str
    expected: str
    found: str
    ok: bool


def check_form(text: str, form: Form, language: str = "en", length: Length | None = None) -> list[FormFact]:
    """What a form asks for and whether the text has it; nothing for ``free``.

    Args:
        text: The finished text.
        form: The form that was asked for.
        language: BCP 47 tag of the text.
        length: The length that was asked for.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    match form:
        case "haiku":
            facts = [FormFact("lines", "3", str(len(lines)), len(lines) == 3)]
            return facts + (_haiku_syllables(lines, language) if len(lines) == 3 else [])
        case "poem" | "song":
            return [_at_least("lines", FEWEST_LINES[form], len(lines))]
        case "story":
            count = len(_HAN.findall(text)) or len(_WORD.findall(text))
            return [_at_least("words", FEWEST_WORDS[length], count)]
        case "script":
            matches = [_SPEAKER.match(line) or _CUE.fullmatch(line) for line in lines]
            return [_at_least("speakers", 2, len({match[1].strip() for match in matches if match}))]
        case "letter":
            return [_greeting(lines)]
        case "email":
            subject = bool(lines) and bool(_SUBJECT.match(lines[0]))
            return [_at_least("subject", 1, subject), _greeting(lines[1:] if subject else lines)]
    return []


def syllables(line: str, language: str) -> int | None:
    """Syllables of a line of English or Chinese; None in other languages and where digits make it a guess.

    English words are counted by syllapy: from a list of 6,392 words, and for others by groups of vowels. That rule
    counts the silent e of "hummed" and "breathes", which is taken off here.
    """
    base = language.split("-")[0].lower()
    if base == "zh":
        return len(_HAN.findall(line))
    if base != "en" or re.search(r"\d", line):
        return None
    return sum(_english(word) for word in _WORD.findall(line.lower().replace("’", "'")))


def _haiku_syllables(lines: list[str], language: str) -> list[FormFact]:
    facts = []
    for number, (line, expected) in enumerate(zip(lines, HAIKU, strict=True), start=1):
        found = syllables(line, language)
        if found is not None:
            facts.append(FormFact(f"syllables_line_{number}", str(expected), str(found), found == expected))
    return facts


@cache
def _english(word: str) -> int:
    import syllapy

    count = syllapy.count(word)
    if word in syllapy.WORD_DICT or count < 2:
        return max(count, 1)
    return count - 1 if _SILENT_E.search(word) else count


def _greeting(lines: list[str]) -> FormFact:
    # Any language: a short line that ends like a greeting, before the first long one.
    opening = lines[:6]
    found = any(_GREETING.match(line.strip()) for line in opening) or any(
        len(line) <= 60 and line.rstrip().endswith((",", "，", ":", "：", "!", "！")) for line in opening
    )
    return _at_least("greeting", 1, found)


def _at_least(check: str, expected: int, found: int) -> FormFact:
    return FormFact(check, f"≥ {expected}", str(int(found)), found >= expected)
