"""Translation: chrF++, BLEU and TER as sacrebleu computes them, and the faults that such scores hide."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import cache
from typing import Any

import numpy as np

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics.base import Metric, fault_rate, percent, row_by_row
from eval.metrics.words import SIGNATURE, words
from pipelines.tasks.translation import SHORTEST_JUDGED, SURE_OF_OUTPUT
from pipelines.text.languages import close_languages, detect, parse_language
from pipelines.text.protect import missing, protected

__all__ = ["bleu", "bleu_tokenizer", "chrf", "copy", "kept", "ter", "wrong_language"]

_BY_CHARACTER = frozenset("ja ko th lo km my".split())  # noqa: SIM905 - tags, as one writes them
"""Languages without spaces, or whose words sacrebleu cuts with dictionaries that are not installed with it."""

_SCRIPTS: dict[str, tuple[str, ...]] = {
    **{"Latn": ("LATIN",), "Cyrl": ("CYRILLIC",), "Grek": ("GREEK",), "Arab": ("ARABIC",), "Hebr": ("HEBREW",)},
    **{"Hans": ("CJK",), "Hant": ("CJK",), "Jpan": ("CJK", "HIRAGANA", "KATAKANA"), "Kore": ("HANGUL",)},
    **{"Deva": ("DEVANAGARI",), "Beng": ("BENGALI",), "Thai": ("THAI",)},
}
"""How Unicode's names of letters begin, for the languages that choices offer (``pipelines.text.languages``)."""

NEARLY_ALL = 0.9
"""Share of words in common from which a reply is the source with a word changed here and there."""


def chrf() -> Metric:
    """chrF++: characters up to six and words up to two in a row (Popović 2017).

    The leading metric of translation: it needs no tokenizer and agrees better with people than BLEU does (Kocmi et al.
    2021).
    """
    from sacrebleu.metrics import CHRF

    metric = CHRF(word_order=2)
    return _metric("chrf", "chrF++", lambda language: metric, _signature(metric))


def bleu() -> Metric:
    """BLEU (Papineni et al. 2002), with the tokenizer that the language of each row needs.

    With sacrebleu's default one a Chinese sentence is one word, and a good translation scores 0.
    """
    from sacrebleu.metrics import BLEU

    made = cache(lambda tokenizer: BLEU(tokenize=tokenizer))
    signature = _signature(made("13a")).replace("tok:13a", "tok:13a,zh,char by language")
    return _metric("bleu", "BLEU", lambda language: made(bleu_tokenizer(language)), signature)


def ter() -> Metric:
    """TER: edits, moved spans included, for each word of the reference (Snover et al. 2006); lower is better."""
    from sacrebleu.metrics import TER

    made = cache(lambda asian: TER(normalized=asian, asian_support=asian))
    signature = _signature(made(False)).replace("norm:no|punct:yes|asian:no", "norm,asian:by language|punct:yes")
    return _metric("ter", "TER", lambda language: made(bleu_tokenizer(language) != "13a"), signature, lower=True)


def bleu_tokenizer(language: str) -> str:
    """The tokenizer of sacrebleu for a language: ``zh``, ``char`` or ``13a``."""
    base = parse_language(language).split("-")[0]
    if base in ("zh", "yue"):
        return "zh"
    return "char" if base in _BY_CHARACTER else "13a"


def wrong_language() -> Metric:
    """How many replies are in another language than the one that was asked for.

    That is a reply without a letter of the language's script where the reference has some, or one whose language a
    detector is sure of. Other short replies count as right, names too, and traditional instead of simplified
    characters; so does a row whose reference is taken for the other language as well.
    """

    def wrong(reply: str, row: BenchmarkRow) -> bool:
        script = _script(row.language)
        if (
            any(map(str.isalpha, reply))
            and not _has(script, reply)
            and any(_has(script, text) for text in row.references)
        ):
            return True
        found = _detected(reply)
        if not found or close_languages(found, row.language):
            return False
        return all(_detected(reference) != found for reference in row.references)

    limits = f"script|py3langid ≥ {SURE_OF_OUTPUT}, ≥ {SHORTEST_JUDGED} characters"
    return fault_rate("wrong_language", "wrong language", limits, wrong)


def copy() -> Metric:
    """How many replies are the source as it was, or with one word in ten changed.

    A row whose reference is as near to the source (a name, a line of code) says nothing of that and counts as none.
    """

    def copied(reply: str, row: BenchmarkRow) -> bool:
        source = words(row.request["text"])
        return _near(words(reply), source) and not any(_near(words(other), source) for other in row.references)

    return fault_rate("copy", "source copied", f"{SIGNATURE}|alike ≥ {NEARLY_ALL}", copied)


def kept() -> Metric:
    """Share of numbers, placeholders, tags, code, addresses of the sources that replies still have.

    What the best reference leaves out as well ("3" that became "three") is not asked for.
    """

    def of_row(reply: str, row: BenchmarkRow) -> tuple[float, float]:
        source = row.request["text"]
        lost_by_references = sorted((missing(source, other) for other in row.references), key=len)
        excused = Counter(lost_by_references[0] if lost_by_references else [])
        wanted = len(protected(source)) - excused.total()
        lost = (Counter(missing(source, reply)) - excused).total()
        return max(0, wanted - lost), wanted

    name = "numbers and placeholders kept"
    return Metric("kept", name, f"{name}|by digits, order free", row_by_row(of_row), percent, best=100.0, worst=0.0)


def _metric(key: str, name: str, choose: Callable[[str], Any], signature: str, *, lower: bool = False) -> Metric:
    # The two methods behind sacrebleu's own significance tests (sacrebleu/significance.py); its public ones give scores
    # without the statistics that paired resampling needs. Row by row, as each may have its own number of references.
    def of_rows(replies: Sequence[str], rows: Sequence[BenchmarkRow]) -> np.ndarray:
        found = [
            choose(row.language)._extract_corpus_statistics([reply], [[other] for other in row.references])[0]
            for reply, row in zip(replies, rows, strict=True)
        ]
        return np.array(found, float)

    def of_sum(total: np.ndarray) -> float:
        return float(choose("en")._compute_score_from_stats(total.tolist()).score)

    best, worst = (0.0, 100.0) if lower else (100.0, 0.0)
    return Metric(
        key, name, f"{name}|{signature}", of_rows, of_sum, not lower, best=best, worst=worst, needs_references=True
    )


def _signature(metric: Any) -> str:
    metric.num_refs = -1  # "var"; it else learns that from the first corpus, and gives no signature before
    return str(metric.get_signature())


@cache
def _script(language: str) -> tuple[str, ...]:
    import langcodes

    return _SCRIPTS.get(str(langcodes.get(parse_language(language)).maximize().script), ())


def _has(script: tuple[str, ...], text: str) -> bool:
    letters = filter(str.isalpha, unicodedata.normalize("NFKC", text))
    return any(unicodedata.name(letter, "").startswith(script) for letter in letters)


def _detected(text: str) -> str:
    found = detect(text) if len(text) >= SHORTEST_JUDGED else None
    return found[0] if found and found[1] >= SURE_OF_OUTPUT else ""


def _near(one: list[str], two: list[str]) -> bool:
    matcher = SequenceMatcher(None, one, two, autojunk=False)
    # The first two are upper bounds that cost little; the last one takes seconds on long texts that have nothing else.
    bounds = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
    return bool(one) and all(bound() >= NEARLY_ALL for bound in bounds)
