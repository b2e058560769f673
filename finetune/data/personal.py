"""Personal data in rows: found by form and check digits, replaced by words that say what stood there.

The same address twice in a row becomes the same ``<EMAIL_1>``, in the request as in the reply: a translation that keeps
an address, an answer that repeats a number still learn to do so.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from finetune.data.config import DataConfig
from finetune.data.row import Outcome, Redaction, Row, Step, change, drop, keep

__all__ = ["find", "personal_data"]

_EMAIL = re.compile(
    r"(?<![\w.%+-])[A-Za-z0-9][\w.%+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,6}[A-Za-z]{2,24}(?![\w-])"
)
# A phone number is looked for where there are at least seven digits with no more than two other signs between them.
_DIGITS = re.compile(r"(?<![\w.,/:#-])\(?\+?\d(?:[ ().\u00a0/-]{0,2}\d){6,17}(?![\w-]|[.,]\d)")
_DATE = re.compile(r"\d{4}[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}")
_THOUSANDS = re.compile(r"\d{1,3}(?:[ .\u00a0]\d{3})+")
_SEPARATED = re.compile(r"\d[ ().\u00a0/-]+\d")
_CALL = re.compile(
    r"(?i)(?:\b(?:phones?|tel|telephone|mobile|cell|call|fax|whatsapp|sms|text me|t[ée]l[ée]phone|portable|appel\w*"
    r"|telefon\w*|handy|anruf\w*|tel[ée]fono|m[óo]vil|llam\w*)\b|电话|手机|致电|联系|传真)"
)
_CARD = re.compile(r"(?<![\w.-])[2-6]\d{3}(?:[ -]?\d){9,15}(?![\w-]|\.\d)")
_ISSUERS = (
    (re.compile("4"), (13, 16, 19)),  # Visa
    (re.compile("5[1-5]|2[2-7]"), (16,)),  # Mastercard
    (re.compile("3[47]"), (15,)),  # American Express
    (re.compile("3[068]"), (14,)),  # Diners Club
    (re.compile("6"), (16, 17, 18, 19)),  # Discover, UnionPay, Maestro
)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_CHINESE_ID = re.compile(r"(?<!\w)[1-9]\d{16}[\dXx](?!\w)")
_SPANISH_ID = re.compile(r"(?<!\w)\d{8}-?[A-HJ-NP-TV-Z](?!\w)")
_FRENCH_ID = re.compile(r"(?<!\w)[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}(?!\w)")
_AMERICAN_ID = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
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

_REGIONS = {
    **{"en": ("US", "GB"), "fr": ("FR",), "de": ("DE",), "es": ("ES",)},
    **{"zh": ("CN",), "it": ("IT",), "pt": ("BR", "PT")},
}
"""Countries whose way of writing numbers is tried for texts of a language; numbers with + need none."""

Span = tuple[int, int, str]


def personal_data(config: DataConfig) -> Step:
    """The step "personal_data".

    E-mail addresses; phone numbers (international ones, and national ones that are valid in a country of the text's
    language and either follow a word such as "call" or are written in groups); payment cards; bank accounts (IBAN);
    numbers of people in China, France, Spain and the United States. All but addresses and the last have check digits.
    With ``names`` also given names that a greeting or "my name is" introduces, in English only. It finds what has a
    form and nothing else: no addresses of houses, no names within a text.

    Returns:
        A step that changes (kinds ``email``, ``phone``, …) or, with ``personal_data: drop``, drops rows
        (``personal_data``).
    """

    def step(row: Row) -> Outcome:
        numbers: dict[tuple[str, str], str] = {}
        counts: dict[str, int] = {}

        def rewrite(text: str) -> str:
            parts, last = [], 0
            for start, end, kind in find(text, _languages(row), names=config.names):
                found = text[start:end]
                known = kind, re.sub(r"[\s().\u00a0/-]", "", found).casefold()
                if known not in numbers:
                    counts[kind] = counts.get(kind, 0) + 1
                    numbers[known] = f"<{kind.upper()}_{counts[kind]}>"
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


def find(text: str, languages: tuple[str, ...] = ("en",), *, names: bool = False) -> list[Span]:
    """Where personal data stands in a text: (start, end, kind), in order, none within another.

    Args:
        text: Any text; the time grows with its length only.
        languages: Tags of its languages, for numbers without a country.
        names: Look for names, too.
    """
    spans: list[Span] = []
    if "@" in text:
        spans += [(*match.span(), "email") for match in _EMAIL.finditer(text)]
    if sum(map(str.isdigit, text)) >= 7:
        spans += _numbers(text, languages)
    if names:
        spans += [(*match.span(1), "name") for match in _NAME.finditer(text) if match[1] not in _NO_NAMES]
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not found or span[0] >= found[-1][1]:
            found.append(span)
    return found


def _numbers(text: str, languages: tuple[str, ...]) -> Iterator[Span]:
    for pattern, kind, valid in _checked():
        for match in pattern.finditer(text):
            if valid(match[0]):
                yield (*match.span(), kind)
    for match in _DIGITS.finditer(text):
        number = match[0]
        if _DATE.search(number) or _THOUSANDS.fullmatch(number) or not 7 <= sum(map(str.isdigit, number)) <= 15:
            continue
        before = text[max(0, match.start() - 30) : match.start()]
        if _is_phone(number, languages, called=bool(_CALL.search(before))):
            yield (*match.span(), "phone")


def _is_phone(number: str, languages: tuple[str, ...], *, called: bool) -> bool:
    import phonenumbers

    international = number.lstrip("(").startswith("+")
    # A bare row of digits is more often an order, an id or a size; only a word before it makes it a number to call.
    if not international and not called and len(_SEPARATED.findall(number)) < 2:
        return False
    regions = (
        [None] if international else [region for tag in languages for region in _REGIONS.get(tag.split("-")[0], ())]
    )
    for region in regions:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(number, region)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False


@cache
def _checked() -> tuple[tuple[re.Pattern[str], str, Callable[[str], bool]], ...]:
    """Forms with their check digits; the most specific first."""
    from stdnum import iban, luhn
    from stdnum.cn import ric
    from stdnum.es import dni
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
        (_SPANISH_ID, "national_id", valid(dni)),
        (_AMERICAN_ID, "national_id", valid(ssn)),
        (_CARD, "card", card),
    )


def _languages(row: Row) -> tuple[str, ...]:
    request = row.request
    named = (request.get(name) for name in ("source", "target", "language"))
    return tuple({tag: None for tag in named if tag and tag != "auto"}) or ("en", "zh")
