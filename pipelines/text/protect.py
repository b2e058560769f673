"""What must survive a translation: addresses, placeholders, tags, code, numbers.

Numbers may change their dress (1,234.5 → 1.234,5 → 1 234,5) and a date its order; they are compared by their digits.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

__all__ = ["Protected", "has_words", "missing", "numbers", "protected"]


@dataclass(frozen=True)
class Protected:
    """A part of a text that must be found again in its translation.

    Attributes:
        kind: ``url``, ``email``, ``code``, ``placeholder``, ``tag`` or ``number``.
        text: The characters.
        span: Where they stand.
    """

    kind: str
    text: str
    span: tuple[int, int]


# Longer things first: a number inside an address is part of the address. Chinese text has no space behind an address,
# so an address ends at the first character that is not ASCII.
_PATTERN = re.compile(
    r"""
    (?P<code>`[^`\n]+`)
  | (?P<url>(?:https?|ftp)://[!-;=?-_a-z{|}~]+ | \bwww\.[!-;=?-_a-z{|}~]+)
  | (?P<email>[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.[A-Za-z]{2,24})
  | (?P<tag></?[A-Za-z][\w:-]*(?:\s+[\w:-]+(?:\s*=\s*(?:"[^"\n]*"|'[^'\n]*'|[^\s"'<>]+))?)*\s*/?>)
  | (?P<placeholder>
        \{\{[^{}\n]{1,80}\}\} | \$\{[^{}\n]{1,80}\} | \{[A-Za-z_0-9][\w.\[\]]*(?:![rsa])?(?::[^{}\n]{0,20})?\} | \{\}
      | %\([A-Za-z_]\w*\)[-+\#0]*\d*(?:\.\d+)?[diouxXeEfFgGcrsa]
      | %(?:\d+\$)?(?:0?\d+)?(?:\.\d+)?(?:l{0,2}[dufxs]|[@igc])(?![A-Za-z])
    )
  | (?P<number>\d+(?:[.,:/'’\u00a0\u202f\u2009-]\d+)*)
    """,
    re.VERBOSE,
)
_URL_TAIL = ".,;:!?'\")]}"


def protected(text: str) -> list[Protected]:
    """Everything in a text that its translation must hold, in the order of the text."""
    found = []
    for match in _PATTERN.finditer(text):
        kind, value = str(match.lastgroup), match.group()
        if kind == "url":
            value = _trimmed_address(value)
        found.append(Protected(kind, value, (match.start(), match.start() + len(value))))
    return found


def has_words(text: str) -> bool:
    """Whether there is anything to translate: letters beside the protected parts."""
    position = 0
    for start, end in [*(item.span for item in protected(text)), (len(text), len(text))]:
        if any(character.isalpha() for character in text[position:start]):
            return True
        position = end
    return False


def missing(source: str, output: str) -> list[str]:
    """What the output lacks, in the order of the source; a thing that stands twice must come twice.

    A plain space between digits parts thousands (1 234) or two numbers (in 2024 100 people); only the other side tells
    which. The reading that finds most counts.
    """
    lost = _lost(source, output)
    if lost:
        readings = [(one, two) for one in (source, _dense(source)) for two in (output, _dense(output))]
        lost = min((_lost(*reading) for reading in readings), key=len)
    return lost


def numbers(text: str) -> set[str]:
    """The groups of digits in a text, in the form in which they are compared: 1,234.5 gives 1234 and 5."""
    both = [item for reading in (text, _dense(text)) for item in protected(reading)]
    return {key for item in both for kind, key in _keys(item) if kind == "number"} | {
        group.lstrip("0") or "0" for item in both if item.kind != "number" for group in re.findall(r"[0-9]+", item.text)
    }


def _lost(source: str, output: str) -> list[str]:
    there: Counter[tuple[str, str]] = Counter()
    for item in protected(output):
        there.update(_keys(item))
    lost = []
    for item in protected(source):
        wanted = Counter(_keys(item))
        if all(there[key] >= count for key, count in wanted.items()):
            there -= wanted
        else:
            lost.append(item.text)
    return lost


def _dense(text: str) -> str:
    return re.sub(r"(?<=\d) (?=\d{3}(?!\d))", "\u00a0", text)


def _keys(item: Protected) -> list[tuple[str, str]]:
    """What is compared: the characters, but for a number its groups of digits without separators of thousands."""
    if item.kind != "number":
        # Space inside tags and placeholders carries no meaning: "<br />" is "<br/>".
        return [(item.kind, re.sub(r"\s+", "", item.text) if item.kind in ("tag", "placeholder") else item.text)]
    text = "".join(str(unicodedata.digit(character, character)) for character in item.text)
    groups = re.split(r"[^0-9]+", text)
    # A separator of thousands is followed by three digits each time: 1,234,567 is one number, 12/03/2024 are three.
    if len(groups) > 1 and re.fullmatch(r"\d{1,3}([.,'’\u00a0\u202f\u2009])\d{3}(?:\1\d{3})*(?:[.,]\d+)?", text):
        fraction = groups[-1:] if _has_fraction(text) else []
        groups = ["".join(groups[: len(groups) - len(fraction)]), *fraction]
    return [("number", group.lstrip("0") or "0") for group in groups]


def _has_fraction(text: str) -> bool:
    """Whether the last separator of a number is its decimal mark: it differs from the ones before it."""
    marks = re.findall(r"[^0-9]", text)
    return len(marks) > 1 and marks[-1] != marks[0]


def _trimmed_address(address: str) -> str:
    """An address without the marks of the sentence around it; a closing bracket stays where the address opened it."""
    while address and address[-1] in _URL_TAIL:
        opening = {")": "(", "]": "[", "}": "{"}.get(address[-1])
        if opening and address.count(opening) >= address.count(address[-1]):
            break
        address = address[:-1]
    return address
