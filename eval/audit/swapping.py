"""Swaps of whom a text is about: gender, the origin of a name, nationality. In English and Chinese.

A swap of gender goes over names, pronouns and words such as "wife" at once, so that the text stays consistent.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from eval.benchmarks import BenchmarkRow
from pipelines.tasks import TASKS

__all__ = ["SWAPS", "swap", "swapped_row"]

_GENDER = {
    **{"he": "she", "him": "her", "himself": "herself", "man": "woman", "men": "women", "boy": "girl", "boys": "girls"},
    **{"husband": "wife", "father": "mother", "dad": "mum", "son": "daughter", "sons": "daughters", "uncle": "aunt"},
    **{"brother": "sister", "brothers": "sisters", "boyfriend": "girlfriend", "grandfather": "grandmother"},
    **{"gentleman": "lady", "mr": "ms", "frenchman": "frenchwoman", "englishman": "englishwoman", "male": "female"},
    **{"james": "emily", "michael": "sarah", "john": "mary", "david": "anna", "thomas": "laura", "peter": "julia"},
    **{"先生": "女士", "丈夫": "妻子", "父亲": "母亲", "爸爸": "妈妈", "儿子": "女儿", "哥哥": "姐姐", "弟弟": "妹妹"},
    **{"他": "她", "男": "女", "张伟": "李静", "王强": "陈丽", "爷爷": "奶奶", "叔叔": "阿姨"},
}
"""Both ways, but for "his" and "her", which depend on what follows."""
_NAME = {
    **{"James": "Jamal", "Michael": "Mohammed", "Emily": "Aaliyah", "Sarah": "Fatima", "John": "Abdul"},
    **{"Mary": "Latisha", "David": "DeShawn", "Anna": "Shanice", "Thomas": "Tyrone", "Laura": "Zainab"},
    **{"张伟": "阿卜杜拉", "李静": "古丽娜尔", "王强": "巴特尔", "陈丽": "卓玛"},
}
"""From names that are common among the majority of a country where the language is spoken to those of a minority."""
_NATIONALITY = {
    **{"American": "Nigerian", "German": "Turkish", "British": "Pakistani", "Frenchman": "Moroccan"},
    **{"Americans": "Nigerians", "Germans": "Turks", "Canadian": "Mexican", "French": "Moroccan"},
    **{"美国": "尼日利亚", "德国": "土耳其", "英国": "巴基斯坦", "法国": "摩洛哥", "日本": "越南"},
}
_LANGUAGE_BEFORE = r"(?<!\bin )(?<!\binto )(?<!\bspeak )(?<!\bspeaks )(?<!\blearn )(?<!\bfrom )"
"""Behind these words "German" is a language."""
_VOWEL = re.compile(r"\b([Aa])(n?) (?=(\w))")


def swap(kind: str, text: str) -> str:
    """A text about somebody else; the same text where nobody is named.

    Args:
        kind: One of ``SWAPS``.
        text: English or Chinese.
    """
    return SWAPS[kind](text)


def swapped_row(row: BenchmarkRow, kind: str, task: str) -> BenchmarkRow | None:
    """A row with request and references about somebody else; None where the swap changes nothing in the request."""

    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return swap(kind, value)
        if isinstance(value, Mapping):
            return {key: each if key == "role" else changed(each) for key, each in value.items()}
        return [changed(each) for each in value] if isinstance(value, list | tuple) else value

    names = [name for name in TASKS[task].text_fields if row.request.get(name)]
    request = {**row.request, **{name: changed(row.request[name]) for name in names}}
    if request == row.request:
        return None
    return replace(row, request=request, references=tuple(swap(kind, text) for text in row.references))


def _gender(text: str) -> str:
    both = {**_GENDER, **{two: one for one, two in _GENDER.items()}}
    del both["her"]

    def other(match: re.Match[str]) -> str:
        word = match[0]
        low = word.lower()
        if low == "his":
            found = "her" if _goes_on(text, match.end()) else "hers"
        elif low == "her":
            found = "his" if _goes_on(text, match.end()) else "him"
        else:
            found = {**both, "hers": "his"}[low]
        return found.capitalize() if word[0].isupper() else found

    return _words((*both, "his", "her", "hers"), ignore_case=True).sub(other, text)


def _goes_on(text: str, place: int) -> bool:
    """Whether a noun may follow, as in "her car"; not so in "I saw her." or "ask her to come"."""
    following = re.match(r" ([A-Za-z'-]+)", text[place:])
    return bool(following) and following[1].lower() not in _NO_NOUN  # type: ignore[index]


_NO_NOUN = frozenset(
    """
    to and or but if when while because so that for from with at in on by about as is was has had will would can could
    should the a an every very again
    """.split()  # noqa: SIM905 - a list of thirty quoted words is no easier to read
)


def _mapped(words: Mapping[str, str], before: str = "") -> Callable[[str], str]:
    def swapped(text: str) -> str:
        found = _words(tuple(words), before=before).sub(lambda match: words[match[0]], text)
        return found if found == text else _VOWEL.sub(_article, found)

    return swapped


def _article(match: re.Match[str]) -> str:
    """An article before a name that was put in: "An American" becomes "a Nigerian"."""
    if match[3].isupper():
        return f"{match[1]}{'n' if match[3] in 'AEIO' else ''} "
    return match[0]


@cache
def _words(words: tuple[str, ...], *, before: str = "", ignore_case: bool = False) -> re.Pattern[str]:
    latin = sorted((word for word in words if word.isascii()), key=len, reverse=True)
    other = sorted((word for word in words if not word.isascii()), key=len, reverse=True)
    # 其他 "other" and 吉他 "guitar" are about nobody.
    chinese = "|".join(rf"(?<![其吉]){word}" if word == "他" else word for word in other)
    return re.compile(rf"{before}\b(?:{'|'.join(latin)})\b|{chinese}", re.IGNORECASE if ignore_case else 0)


SWAPS: dict[str, Callable[[str], str]] = {
    "swap_gender": _gender,
    "swap_name": _mapped(_NAME),
    "swap_nationality": _mapped(_NATIONALITY, _LANGUAGE_BEFORE),
}
"""By the name of their category."""
