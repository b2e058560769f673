"""Telephone numbers in texts, told from dates, amounts, tables, addresses of computers and numbers of books."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

__all__ = ["phones"]

WORD = r"[^\W\u2e80-\u9fff\uf900-\ufaff]"
"""A letter or digit of a script that puts spaces between words: in Chinese, a number follows its verb at once."""

# At least seven digits with no more than three other signs between them; not a part of a word, a price or a path.
_DIGITS = re.compile(rf"(?<!{WORD})(?<![.,/#-])(?<!\d:)\(?\+?\d(?:[ ().\u00a0/-]{{0,3}}\d){{6,17}}(?!{WORD}|-|[.,:]\d)")
_SEPARATED = re.compile(r"\d[ ().\u00a0/-]+\d")
_NONE = re.compile(
    r"(?:^|.*[ (])(?:(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:0?[1-9]|[12]\d|3[01])"  # 2026-11-25
    r"|(?:0?[1-9]|[12]\d|3[01])[-./](?:0?[1-9]|[12]\d|3[01])[-./](?:19|20)?\d\d)(?:[ )].*|$)"  # 25.11.2026, 11/25/26
    r"|\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])|(?:.* )?-?0\..*"  # 0300-01-01, 0.6085 -0.0125, 0.9.6.2127
    r"|\d{1,3}(?:\.\d{1,3}){3}|\d+(?:/\d+){2,}"  # 192.168.100.10, 1024/2048/4096
    r"|\+?\d+\.\d+(?: +\d+\.\d+)*|.*[ \u00a0]{2}.*"  # 35236450.6; columns of a table
)
_THOUSANDS = re.compile(r"\d{1,3}(?:[ .\u00a0]\d{3})+")
_CALL = re.compile(
    r"(?i)(?:\b(?:phones?|ph|tel|telephone|mobile|cell|call|ring|dial|fax|whatsapp|sms|text me|reach me|number is"
    r"|t[ée]l|t[ée]l[ée]phone|t[ée]l[ée]phon\w+|portable|joindre|appel\w*|num[ée]ro|telefon\w*|handy|mobil|ruf\w*"
    r"|anruf\w*|rückruf|nummer|tel[ée]fono|m[óo]vil|ll[aá]m\w*|celular|n[úu]mero)\b|[电電]话|[電电]話|手机|手機|致电|致電|联系"
    r"|聯繫|拨打|撥打|号码|號碼|传真|傳真|热线|熱線|微信|短信|打给)"
)
_BOOK = re.compile(r"(?i)\b(?:isbn|issn|doi|oclc|ean|sku)\b[-:. 013]*\Z")
_IDEOGRAPH = re.compile(r"[\u4e00-\u9fff]")

_REGIONS = {
    **{"en": ("US", "GB"), "fr": ("FR",), "de": ("DE",), "es": ("ES",)},
    **{"zh": ("CN",), "it": ("IT",), "pt": ("BR", "PT")},
}
"""Countries whose way of writing numbers is tried for texts of a language; numbers with + need none."""

_AT_HOME = {
    region: re.compile(form)
    for region, form in {
        "US": r"1?[2-9]\d{2}[2-9]\d{6}",
        "GB": r"0[1-9]\d{8,9}",
        "FR": r"0[1-9]\d{8}",
        "DE": r"0[1-9]\d{5,12}",
        "ES": r"[6-9]\d{8}",
        "CN": r"1[3-9]\d{9}|0[1-9]\d{8,10}|[48]00\d{7}",
        "IT": r"0\d{5,10}|3\d{8,9}",
        "BR": r"0?[1-9]\d{9,10}",
        "PT": r"[2-9]\d{8}",
    }.items()
}
"""Digits of a number that is dialled within its country, with the area it belongs to: without that any row of seven
digits would be one. It also spares the library, which takes 70 µs for each number, the most of them."""


def phones(text: str, languages: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(start, end) of telephone numbers in a text; the time grows with its length.

    Found are international ones, and national ones of the languages' countries that are valid there and either follow
    a word such as "call" or are written in three or more groups.
    """
    regions = [region for tag in languages for region in _REGIONS.get(tag.split("-")[0], ())]
    for match in _DIGITS.finditer(text):
        number = match[0]
        before = text[max(0, match.start() - 30) : match.start()]
        if _may_be(number, before) and _valid(number, before, regions):
            yield match.start() + (number[0] == "(" and ")" not in number), match.end()


def _may_be(number: str, before: str) -> bool:
    return 7 <= sum(map(str.isdigit, number)) <= 15 and not (
        _NONE.fullmatch(number) or _counted(number) or _BOOK.search(before)
    )


def _counted(number: str) -> bool:
    """Whether numbers follow each other: the days of a week in a calendar."""
    groups = [int(group) for group in number.split() if group.isdigit()]
    return len(groups) > 2 and all(two - one == 1 for one, two in pairwise(groups))


def _valid(number: str, before: str, regions: Sequence[str]) -> bool:
    digits = "".join(filter(str.isdigit, number))
    called = bool(_CALL.search(before))
    grouped = len(_SEPARATED.findall(number)) >= 2
    if number.lstrip("(").startswith("+"):
        return _is_number(number, None)
    # A bare row of digits is more often an order, an id or a size; only a word before it makes it a number to call.
    chinese = "CN" in regions and len(digits) == 11 and bool(_IDEOGRAPH.search(before))
    if not (called or chinese or (grouped and not _THOUSANDS.fullmatch(number))):
        return False
    if digits.startswith("00"):
        return _is_number(f"+{digits[2:]}", None)
    return any(_AT_HOME[region].fullmatch(digits) and _is_number(digits, region) for region in regions)


def _is_number(number: str, region: str | None) -> bool:
    import phonenumbers

    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(number, region)))
    except phonenumbers.NumberParseException:
        return False
