"""Personal data in a text, found by form and check digits.

E-mail addresses; phone numbers (international ones, and national ones that are valid in a country of the text's
language and either follow a word such as "call" or are written in groups); payment cards; bank accounts (IBAN); numbers
of people in China, France, Spain and the United States. All but addresses and the last have check digits. On 63 MB of
Python code and package descriptions it finds 23 numbers, of which one is none ("42.42.42.42.42"). It finds what has a
form and nothing else: no addresses of houses, no names within a text.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from pipelines.text.phones import WORD, phones

__all__ = ["KINDS", "Span", "apart", "find"]

KINDS = ("email", "phone", "card", "iban", "national_id", "name")

_EMAIL = re.compile(
    rf"(?<!{WORD})(?<![.%+-])[A-Za-z0-9](?:{WORD}|[.%+-]){{0,63}}@(?:[A-Za-z0-9\u00c0-\u024f]"
    r"(?:[A-Za-z0-9\u00c0-\u024f-]{0,61}[A-Za-z0-9\u00c0-\u024f])?\.){1,6}[A-Za-z]{2,24}"
    rf"(?!{WORD}|-|\.[A-Za-z0-9])"
)
_NO_EMAIL = re.compile(
    r"git@.*|.*@(?:self|cls|np|numpy|jnp|torch|tf|math)\..*|.*\.(?:png|jpe?g|gif|svg|webp|ico|tgz|whl|js|json)"
)
"""The account of a repository, the product of two matrices, ``icon@2x.png``, ``package@stable.tgz``."""

_CARD = re.compile(rf"(?<!{WORD})(?<![.-])[2-6]\d{{3}}(?:[ -]?\d){{9,15}}(?!{WORD}|-|\.\d)")
_ISSUERS = (
    (re.compile("4"), (13, 16)),  # Visa
    (re.compile("5[1-5]|2[2-7]"), (16,)),  # Mastercard
    (re.compile("3[47]"), (15,)),  # American Express
    (re.compile("3[068]"), (14,)),  # Diners Club
    (re.compile("62"), (16, 17, 18, 19)),  # UnionPay
    (re.compile("6011|64[4-9]|65"), (16,)),  # Discover
)
"""Lengths that an issuer hardly uses are left out: one in ten numbers of so many digits passes the check."""
_IBAN = re.compile(rf"(?<!{WORD})[A-Z]{{2}}\d{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?(?!{WORD})")
_CHINESE_ID = re.compile(rf"(?<!{WORD})[1-9]\d{{16}}[\dXx](?!{WORD})")
_SPANISH_ID = re.compile(rf"(?<!{WORD})(?<![.,])(?:\d{{8}}|[XYZ]-?\d{{7}})-?[A-HJ-NP-TV-Z](?!{WORD}|[+-]\d)")
_FRENCH_ID = re.compile(
    rf"(?<!{WORD})[12] ?\d{{2}} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?\d[\dAB] ?\d{{3}} ?\d{{3}} ?\d{{2}}(?!{WORD})"
)
_AMERICAN_ID = re.compile(rf"(?<!{WORD})(?<!-)\d{{3}}-\d{{2}}-\d{{4}}(?!{WORD}|-)")
_NAME = re.compile(
    r"(?:\b(?:[Mm]y name is|[Ii](?:'m| am) called|[Cc]all me|[Nn]ice to meet you,?|[Dd]ear|[Hh]i|[Hh]ello|[Hh]ey)"
    r",? |\b(?:I'm|I am|[Tt]his is) (?=[A-Z][a-z]+[.,!?\n]))([A-Z][a-z]{2,15})(?![\w'])"
)
_NO_NAMES = frozenset(
    """
    There Everyone Everybody Guys Sir Madam Team Friend Friends Customer Folks World God Lord Not Just Sure Sorry Fine
    Great Good Glad Happy Here What Whats Why Who How Does Did Can Could Thanks Thank Please Yes Well English French
    German Spanish American Chinese Python Lisp Java Monday Tuesday Wednesday Thursday Friday Saturday Sunday
    """.split()  # noqa: SIM905 - a list of sixty quoted words is no easier to read
)

Span = tuple[int, int, str]
"""Start, end, kind."""


def find(text: str, languages: tuple[str, ...] = ("en",), *, names: bool = False) -> list[Span]:
    """Where personal data stands in a text: (start, end, kind), in order, none within another.

    Args:
        text: Any text; the time grows with its length only.
        languages: Tags of its languages, for numbers without a country.
        names: Look for names, too.
    """
    spans: list[Span] = []
    if "@" in text:
        spans += [(*match.span(), "email") for match in _EMAIL.finditer(text) if not _NO_EMAIL.fullmatch(match[0])]
    if sum(map(str.isdigit, text)) >= 7:
        spans += _numbers(text, languages)
    if names:
        spans += [(*match.span(1), "name") for match in _NAME.finditer(text) if match[1] not in _NO_NAMES]
    return apart(spans)


def apart(spans: list[Span]) -> list[Span]:
    """Spans in their order, without those that begin within another."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not found or span[0] >= found[-1][1]:
            found.append(span)
    return found


def _numbers(text: str, languages: tuple[str, ...]) -> Iterator[Span]:
    for pattern, kind, valid in _checked():
        for match in pattern.finditer(text):
            if length := _longest_valid(match[0], valid):
                yield match.start(), match.start() + length, kind
    for start, end in phones(text, languages):
        yield start, end, "phone"


def _longest_valid(found: str, valid: Callable[[str], bool]) -> int:
    """Characters of the number: a word or a date behind it may look like its last group, as in "DE89 … 00 BIC"."""
    for _ in range(3):
        if found and valid(found):
            return len(found)
        found = found.rpartition(" ")[0]
    return 0


@cache
def _checked() -> tuple[tuple[re.Pattern[str], str, Callable[[str], bool]], ...]:
    """Forms with their check digits; the most specific first."""
    from stdnum import iban, luhn
    from stdnum.cn import ric
    from stdnum.es import dni, nie
    from stdnum.fr import nir
    from stdnum.us import ssn

    def card(text: str) -> bool:
        digits = re.sub(r"\D", "", text)
        issuer = any(len(digits) in lengths and first.match(digits) for first, lengths in _ISSUERS)
        return issuer and len(set(digits)) > 1 and bool(luhn.is_valid(digits))

    def valid(module: Any) -> Callable[[str], bool]:
        return lambda text: bool(module.is_valid(text.replace(" ", "")))

    return (
        (_IBAN, "iban", valid(iban)),
        (_CHINESE_ID, "national_id", valid(ric)),
        (_FRENCH_ID, "national_id", valid(nir)),
        (_SPANISH_ID, "national_id", lambda text: bool((dni if text[0].isdigit() else nie).is_valid(text))),
        (_AMERICAN_ID, "national_id", valid(ssn)),
        (_CARD, "card", card),
    )
