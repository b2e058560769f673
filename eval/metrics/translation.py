"""Translation: chrF++, BLEU and TER as sacrebleu computes them, with the statistics of each row."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.metrics.base import Metric
from pipelines.text.languages import parse_language

__all__ = ["bleu", "bleu_tokenizer", "chrf", "ter"]

_BY_CHARACTER = frozenset("ja ko th lo km my".split())  # noqa: SIM905 - tags, as one writes them
"""Languages without spaces, or whose words sacrebleu cuts with dictionaries that are not installed with it."""


def chrf() -> Metric:
    """chrF++: characters up to six and words up to two in a row (Popović 2017).

    The leading metric of translation: it needs no tokenizer and agrees better with people than BLEU does (Kocmi et al.
    2021).
    """
    from sacrebleu.metrics import CHRF

    return _metric("chrF++", CHRF(word_order=2))


def bleu(language: str) -> Metric:
    """BLEU (Papineni et al. 2002), with the tokenizer that the target language needs.

    With sacrebleu's default one a Chinese sentence is one word, and a good translation scores 0.

    Args:
        language: Tag of the target language.
    """
    from sacrebleu.metrics import BLEU

    return _metric("BLEU", BLEU(tokenize=bleu_tokenizer(language)))


def ter(language: str) -> Metric:
    """TER: edits, moved spans included, for each word of the reference (Snover et al. 2006); lower is better.

    Args:
        language: Tag of the target language.
    """
    from sacrebleu.metrics import TER

    asian = bleu_tokenizer(language) != "13a"
    return _metric("TER", TER(normalized=asian, asian_support=asian), higher_is_better=False)


def bleu_tokenizer(language: str) -> str:
    """The tokenizer of sacrebleu for a language: ``zh``, ``char`` or ``13a``."""
    base = parse_language(language).split("-")[0]
    if base in ("zh", "yue"):
        return "zh"
    return "char" if base in _BY_CHARACTER else "13a"


def _metric(name: str, metric: Any, *, higher_is_better: bool = True) -> Metric:
    # The two methods behind sacrebleu's own significance tests (sacrebleu/significance.py); its public ones give scores
    # without the statistics that paired resampling needs.
    def of_rows(replies: Sequence[str], references: Sequence[str]) -> np.ndarray:
        return np.array(metric._extract_corpus_statistics(list(replies), [list(references)]), float)

    def of_sum(total: np.ndarray) -> float:
        return float(metric._compute_score_from_stats(total.tolist()).score)

    metric.num_refs = 1  # it else learns that from the first corpus, and gives no signature before
    return Metric(name, f"{name}|{metric.get_signature()}", of_rows, of_sum, higher_is_better)
