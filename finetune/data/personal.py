"""Personal data in rows: found by form and check digits, replaced by words that say what stood there.

The same address twice in a row becomes the same ``<EMAIL_1>``, in the request as in the reply: a translation that keeps
an address, an answer that repeats a number still learn to do so.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from typing import Any

from finetune.data.config import DataConfig
from finetune.data.phones import WORD, phones
from finetune.data.row import Outcome, Redaction, Row, Step, change, drop, keep

__all__ = ["KINDS", "find", "personal_data"]

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

_SEPARATORS = re.compile(r"[\s().\u00a0/-]")

Span = tuple[int, int, str]


def personal_data(config: DataConfig) -> Step:
    """The step "personal_data".

    E-mail addresses; phone numbers (international ones, and national ones that are valid in a country of the text's
    language and either follow a word such as "call" or are written in groups); payment cards; bank accounts (IBAN);
    numbers of people in China, France, Spain and the United States. All but addresses and the last have check digits.
    On 63 MB of Python code and package descriptions it finds 23 numbers, of which one is none ("42.42.42.42.42").
    With ``names`` also given names that a greeting or "my name is" introduces, in English only. It finds what has a
    form and nothing else: no addresses of houses, no names within a text.

    Returns:
        A step that changes (kinds ``email``, ``phone``, …) or, with ``personal_data: drop``, drops rows
        (``personal_data``).
    """

    def step(row: Row) -> Outcome:
        numbers: dict[tuple[str, str], str] = {}
        texts = list(row.texts(config.task))  # some come from sets that were redacted before
        languages = _languages(row)
        spans = {text: find(text, languages, names=config.names) for text in texts}
        again = _again({(text[start:end], kind) for text, found in spans.items() for start, end, kind in found})

        def rewrite(text: str) -> str:
            parts, last = [], 0
            for start, end, kind in _apart([*spans.get(text, ()), *again(text)]):
                found = text[start:end]
                known = kind, (found if kind in ("email", "name") else _SEPARATORS.sub("", found)).casefold()
                if known not in numbers:
                    numbers[known] = _placeholder(kind, [*texts, *numbers.values()])
                    redactions.append(Redaction(kind, found, numbers[known]))
                parts += [text[last:start], numbers[known]]
                last = end
            return "".join([*parts, text[last:]]) if parts else text

        redactions: list[Redaction] = []
        changed = row.with_texts(config.task, rewrite)
        if not redactions:
            return keep(row)
        kinds = sorted({redaction.kind for redaction in redactions})
        if config.personal_data == "drop":
            return drop("personal_data", kinds=kinds)
        return change(changed, *kinds, redactions=tuple(redactions))

    return step


def _again(found: set[tuple[str, str]]) -> Callable[[str], list[Span]]:
    """Finds what was found in one text in the others of its row.

    "Call me: 13800138000" says that it is a number to call, and its translation may not: half of a pair would keep it.
    """
    forms = {}
    for text, kind in found:
        signs = text if kind in ("email", "name") else _SEPARATORS.sub("", text)
        between = "" if kind in ("email", "name") else r"[\s().\u00a0/-]{0,2}"
        forms[re.compile(rf"(?<![A-Za-z0-9@]){between.join(map(re.escape, signs))}(?![A-Za-z0-9@])", re.IGNORECASE)] = (
            kind
        )

    def again(text: str) -> list[Span]:
        return [(*match.span(), kind) for form, kind in forms.items() for match in form.finditer(text)]

    return again


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
    return _apart(spans)


def _apart(spans: list[Span]) -> list[Span]:
    """Spans in their order, without those that begin within another."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not found or span[0] >= found[-1][1]:
            found.append(span)
    return found


def _placeholder(kind: str, texts: list[str]) -> str:
    """The first one of its kind that stands in none of these texts."""
    every = (f"<{kind.upper()}_{number}>" for number in count(1))
    return next(name for name in every if not any(name in text for text in texts))


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


def _languages(row: Row) -> tuple[str, ...]:
    request = row.request
    named = (request.get(name) for name in ("source", "target", "language"))
    return tuple({tag: None for tag in named if tag and tag != "auto"}) or ("en", "zh")
