"""Summarization: ROUGE for texts of any script, and the beginning of a text as the summary to beat."""

import re
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from eval.metrics.base import Metric
from pipelines.text.split import Piece, sentences

__all__ = ["UnicodeTokenizer", "lead", "rouge"]

_SINGLE = (
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\U00020000-\U0003ffff]"
)
"""Scripts without spaces, and Korean, whose words carry endings: each character is a word of its own."""
_MARK = "[\u0300-\u036f\u0591-\u05c7\u064b-\u0655\u0900-\u0903\u093a-\u094f\u0980-\u0d7f]"
_WORDS = re.compile(f"{_SINGLE}|(?:(?!{_SINGLE})(?:[^\\W_]|{_MARK}))+")


class UnicodeTokenizer:
    """Words of any script, for rouge_score.

    Its own tokenizer knows a to z and 0 to 9: two identical Chinese texts score 0, and ``café`` is ``caf``.
    """

    def tokenize(self, text: str) -> list[str]:
        """Words in lower case; Chinese, Japanese, Korean, Thai, Lao, Burmese and Khmer by character."""
        return _WORDS.findall(text.lower())


def rouge(kind: str, language: str = "en") -> Metric:
    """Mean F-measure of ROUGE over the rows (Lin 2004).

    Args:
        kind: ``rouge1``, ``rouge2``, ``rougeL``, or ``rougeLsum``, which compares sentence by sentence.
        language: Tag of the language of the texts: where its sentences end.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([kind], tokenizer=UnicodeTokenizer())

    def of_rows(replies: Sequence[str], references: Sequence[str]) -> np.ndarray:
        rows = [
            (100 * scorer.score(_lines(reference, language), _lines(reply, language))[kind].fmeasure, 1.0)
            for reply, reference in zip(replies, references, strict=True)
        ]
        return np.array(rows)

    def of_sum(total: np.ndarray) -> float:
        return float(total[0] / total[1])

    name = f"ROUGE-{kind.removeprefix('rouge')}"
    return Metric(name, f"{name}|words:unicode|rouge-score|{version('rouge-score')}", of_rows, of_sum)


def lead(text: str, count: int = 3, language: str = "en") -> str:
    """The first sentences of a text: the summary that costs nothing, which news summarizers often fail to beat."""
    found = [piece.of(text) for piece in sentences(text, Piece(0, len(text)), language)]
    return "".join(found[:count]).strip()


def _lines(text: str, language: str) -> str:
    """A sentence a line, as rougeLsum wants them: without, the same text on one line and on two scores 0.5."""
    return "\n".join(
        piece.of(line).strip() for line in text.splitlines() for piece in sentences(line, Piece(0, len(line)), language)
    )
