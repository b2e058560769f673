"""Names, tags and detection of languages.

Tags are BCP 47 (``fr``, ``zh-Hans``, ``pt-BR``). Detection is offline (py3langid, 140 languages).
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

from pipelines.errors import InputError

__all__ = [
    "LANGUAGES",
    "close_languages",
    "closest",
    "detect",
    "detectable",
    "language_name",
    "parse_language",
    "same_language",
    "without_spaces",
]

LANGUAGES = (
    "en", "zh-Hans", "zh-Hant", "es", "fr", "de", "it", "pt", "pt-BR", "nl", "sv", "da", "fi", "pl", "cs", "ro", "el",
    "ru", "uk", "tr", "ar", "he", "fa", "hi", "bn", "id", "vi", "th", "ja", "ko",
)  # fmt: skip
"""What a list of choices offers; every other valid tag or name may still be typed."""

SURE = 0.7
"""Confidence from which a detected language counts. On 4,000 sentences of user manuals (English, German, Spanish,
French, Chinese; 54 % of them under 80 characters) one answer at or above it was wrong; at 0.5 one in 20 under 20."""

LONGEST_SAMPLE = 4000
"""Characters that detection reads; more do not change its answer."""

# Valid tags that name no language: undetermined, several, none, one without a code, private use.
_NO_LANGUAGE = {"und", "mul", "zxx", "mis", "x"}

# What the detector tells apart and a reader does not: it takes short Chinese for Cantonese or Wu.
_MERGED = {"cmn": "zh", "yue": "zh", "wuu": "zh", "nb": "no", "nn": "no", "arz": "ar", "ary": "ar", "uzs": "uz"}

# Written forms so close that a detector's word on a paragraph is no ground for an alarm.
_CLOSE = ({"no", "da"}, {"hr", "bs", "sr", "sh"}, {"id", "ms", "jv"}, {"gl", "pt"}, {"af", "nl"})


@cache
def parse_language(name: str) -> str:
    """A BCP 47 tag from a tag or a name in English, Chinese or the language itself.

    Raises:
        InputError: ``language_unknown`` with the nearest names.
    """
    import langcodes

    wanted = name.strip()
    # A tag first: "no", "it" and "is" are words too. ``tag_is_valid`` knows the registry, so "xx" does not pass.
    try:
        valid = wanted and langcodes.tag_is_valid(wanted)
        tag = langcodes.standardize_tag(wanted) if valid else langcodes.find(wanted).to_tag()
    except LookupError:
        tag = "und"
    if _base(tag) in _NO_LANGUAGE:
        raise InputError("language_unknown", found=name, nearest=_nearest(wanted))
    return tag


@cache
def language_name(tag: str, ui: str = "en") -> str:
    """The name of a language for a reader of the language ``ui``: ``fr`` is "French", or "法语" for ``zh``."""
    import langcodes

    return langcodes.Language.get(tag).display_name("zh-Hans" if ui.startswith("zh") else ui)


def detect(text: str, candidates: Iterable[str] | None = None) -> tuple[str, float] | None:
    """The language of a text.

    Args:
        text: What to look at; its first 4,000 characters count.
        candidates: Tags to choose among; by default all that are known.

    Returns:
        Base tag and confidence between 0 and 1, or None where the text is too short or mixed to tell.
    """
    sample = text[:LONGEST_SAMPLE]
    if not any(character.isalpha() for character in sample):
        return None
    allowed = {_base(tag) for tag in candidates} if candidates is not None else None
    sums: dict[str, float] = {}
    for label, probability in _identifier().rank(sample):
        base = _MERGED.get(label, label)
        if label != "zxx" and (allowed is None or base in allowed):  # zxx: no language at all
            sums[base] = sums.get(base, 0.0) + float(probability)
    total = sum(sums.values())
    if not total:
        return None
    best = max(sums, key=lambda tag: sums[tag])
    confidence = sums[best] / total if allowed is not None else sums[best]
    return (best, min(confidence, 1.0)) if confidence >= SURE else None


def detectable(tag: str) -> bool:
    """Whether ``detect`` knows the language of a tag."""
    return _base(tag) in _known()


def same_language(first: str, second: str) -> bool:
    """Whether two tags name the same base language (``pt`` and ``pt-BR`` do)."""
    return _base(first) == _base(second)


def close_languages(first: str, second: str) -> bool:
    """Whether two tags are the same language or one that a detector takes for the other."""
    one, two = _base(first), _base(second)
    return one == two or any(one in group and two in group for group in _CLOSE)


@cache
def closest(tag: str, choices: tuple[str, ...]) -> str:
    """The choice that a reader of ``tag`` reads with ease: ``zh`` for ``zh-CN``, not for ``zh-Hant``; "" if none."""
    import langcodes

    # langcodes measures by CLDR: up to 5 between regions of one language, 15 and more between scripts.
    found, distance = langcodes.closest_match(tag, list(choices), max_distance=9)
    return found if distance <= 9 else ""


def without_spaces(tag: str) -> bool:
    """Whether a language is written without spaces between its sentences."""
    return _base(tag) in {"zh", "ja", "th", "lo", "km", "my", "bo", "dz"}


def _base(tag: str) -> str:
    base = tag.replace("_", "-").split("-")[0].lower()
    return _MERGED.get(base, base)


def _nearest(wanted: str) -> str:
    from difflib import get_close_matches

    import langcodes

    if len(wanted) == 2 and wanted.isascii() and wanted.isalpha():  # "jp": a country's code, not a language's
        spoken = langcodes.Language.make(territory=wanted.upper()).maximize()
        if spoken.script and spoken.language and spoken.language != "en":
            return spoken.language
    names = {language_name(tag, ui).lower(): language_name(tag, ui) for tag in LANGUAGES for ui in ("en", "zh", tag)}
    names |= {tag.lower(): tag for tag in LANGUAGES}
    close = get_close_matches(wanted.lower(), names, n=3, cutoff=0.6)
    return ", ".join([names[name] for name in close] or ["English", "French", "Chinese", "fr", "zh-Hans"])


@cache
def _known() -> frozenset[str]:
    return frozenset(_MERGED.get(label, label) for label in _identifier().labels)


@cache
def _identifier() -> Any:
    # One identifier of our own: the module's shared one gives log probabilities and may have been restricted by others.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
