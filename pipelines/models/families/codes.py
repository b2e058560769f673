"""The names that a model has for languages, and which of them a BCP 47 tag asks for.

Families write the same language in many ways: ``zh`` (M2M100), ``zho_Hans`` (NLLB), ``zh_CN`` (mBART), ``cmn_Hans``
(OPUS-MT), ``zh_Hant`` beside ``zh`` (MADLAD). A code is read as the tag that it nearly is; a request then finds the
code of its language whose script is right. Another script is another language here: who asks for Serbian in Latin
letters has no use for Cyrillic ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from pipelines.text.languages import LANGUAGES

__all__ = ["Languages", "Match", "is_group", "tag_of"]

# Codes that are no tags, or not those of what they mean: M2M100's Northern Sotho, OPUS-MT's Japanese, mBART's Arabic
# (AR is Argentina).
_MISNAMED = {"ns": "nso", "jap": "ja", "ar-AR": "ar"}

# Individual languages that stand for the wider one where a family has only the one; langcodes folds the others
# (arb → ar, zsm → ms, swh → sw…) by the registry's macrolanguages. Norwegian (no) is written as Bokmål (nb) unless it
# says otherwise.
_PRINCIPAL = {"pbt": "ps", "quy": "qu", "fuv": "ff", "taq": "tmh", "zlm": "ms", "nb": "no"}

# Written standards that a model with the wider code alone has seen, too.
_WITHIN = {"nn": "no"}


@dataclass(frozen=True)
class Match:
    """A code for an asked language.

    Attributes:
        code: As the model writes it.
        tag: The language that the code means.
        exact: False where the request names a script or region that the code leaves open.
    """

    code: str
    tag: str
    exact: bool


@cache
def tag_of(code: str) -> str | None:
    """The BCP 47 tag that a model's code means (``zho_Hans`` → ``zh-Hans``, ``pt_XX`` → ``pt``); None for none."""
    import langcodes

    plain = code.replace("_", "-").removesuffix("-XX")
    plain = _MISNAMED.get(plain, plain)
    try:
        return langcodes.standardize_tag(plain) if langcodes.tag_is_valid(plain) else None
    except LookupError:
        return None


def is_group(code: str) -> bool:
    """Whether a code names a group of languages, as OPUS-MT's models do (``gmw``, ``ROMANCE``, ``mul``)."""
    import langcodes

    tag = tag_of(code)
    # langcodes' data do not mark the codes of ISO 639-5, but their names tell all 115 of them: "West Germanic
    # languages", "French-based creoles and pidgins", "Quechuan (family)".
    return tag is None or langcodes.Language.get(tag).display_name().endswith(("languages", "pidgins", "(family)"))


class Languages:
    """The languages that a model knows by codes.

    Args:
        codes: As the model writes them; those that mean no language are left out.

    Attributes:
        tags: Code → tag.
    """

    def __init__(self, codes: Iterable[str]) -> None:
        self.tags = {code: tag for code in codes if (tag := tag_of(code)) and not is_group(code)}

    def __bool__(self) -> bool:
        return bool(self.tags)

    def find(self, asked: str) -> Match | None:
        """The code for an asked tag; None where the model has none for that language in that script."""
        ranked = [
            (rank, code)
            for code, tag in self.tags.items()
            # The code itself, not its tag, shows what it states: pan_Guru is pa, as that is how pa is written.
            if (rank := _distance(asked, tag, code.count("_") + code.count("-") > 0 and not code.endswith("_XX")))
        ]
        if not ranked:
            return None
        rank, code = min(ranked)  # by the code where two are as good: the answer never depends on a dict's order
        return Match(code, self.tags[code], rank[-1] == 0)

    def nearest(self, asked: str) -> list[str]:
        """All languages as tags: those next to the asked one first, then those that many people read."""
        import langcodes

        known = dict.fromkeys(_without_region(tag) for tag in self.tags.values())
        common = {tag: place for place, tag in enumerate(LANGUAGES)}

        def distance(tag: str) -> tuple[bool, int, int, str]:
            # CLDR's distance: what readers of the one are likely to read as well; from 80 on only the script counts.
            near = min(langcodes.tag_distance(asked, tag), 80)
            return _folded(tag) != _folded(asked), near, common.get(tag, len(common)), tag

        return sorted(known, key=distance)


@cache
def _distance(asked: str, offered: str, stated: bool) -> tuple[int, int, int, int] | None:
    """How far a code is from a request.

    Args:
        asked: Tag of the request.
        offered: Tag of the code.
        stated: Whether the code names a script or a region.

    Returns:
        Script, region, language, and whether the code leaves open what was asked for, each better when smaller; None
        where it is another language.
    """
    import langcodes

    wanted, given = langcodes.Language.get(asked), langcodes.Language.get(offered)
    if wanted.language == given.language:
        language = 0
    elif _folded(asked) == _folded(offered):
        language = 1
    elif _WITHIN.get(wanted.language or "") == given.language:
        language = 2
    else:
        return None
    # What a tag leaves open is what most of its readers mean: zh is zh-Hans-CN, pt is pt-Latn-BR (CLDR).
    full_wanted, full_given = wanted.maximize(), given.maximize()
    asks = bool(wanted.script or wanted.territory)
    same_script = full_wanted.script == full_given.script
    if asks and stated and not same_script:
        return None
    same_region = full_wanted.territory == full_given.territory
    script = int(stated != asks) if same_script else 2
    leaves_open = (asks and not same_script) or (bool(wanted.territory) and not same_region) or language == 2
    return script, int(not same_region), language, int(leaves_open)


def _without_region(tag: str) -> str:
    """The tag without a region that goes without saying: ``cs`` for ``cs-CZ``, not for ``es-MX``."""
    import langcodes

    language = langcodes.Language.get(tag)
    plain = langcodes.Language.make(language=language.language, script=language.script)
    return plain.to_tag() if plain.maximize() == language.maximize() else tag


@cache
def _folded(tag: str) -> str:
    """Base language with individual languages taken for the wider one that they usually stand for."""
    import langcodes

    base = langcodes.Language.get(langcodes.standardize_tag(tag, macro=True)).language or ""
    return _PRINCIPAL.get(base, base)
