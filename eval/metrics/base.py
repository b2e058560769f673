"""What every metric is: statistics of each row, and the score of their sum."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.errors import InputError

__all__ = ["Metric", "check_rows"]


@dataclass(frozen=True)
class Metric:
    """A metric of replies against references.

    Attributes:
        name: As reports show it.
        signature: Everything that changes a score: version, tokenizer, orders.
        of_rows: From (replies, references), one of each for a row, to their statistics: float, shape (rows, k).
        of_sum: From the sum of such rows, shape (k,), to the score of the corpus, 0 to 100.
        higher_is_better: Whether a better system scores higher.
    """

    name: str
    signature: str
    of_rows: Callable[[Sequence[str], Sequence[str]], np.ndarray]
    of_sum: Callable[[np.ndarray], float]
    higher_is_better: bool = True

    def statistics(self, replies: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """Statistics of each row, shape (rows, k), for ``eval.statistics``.

        Raises:
            InputError: ``metric_rows``, ``metric_row`` or ``metric_reference_empty``: every row is looked at.
        """
        check_rows(replies, references)
        return self.of_rows(replies, references)

    def score(self, replies: Sequence[str], references: Sequence[str]) -> float:
        """Score of the corpus, 0 to 100.

        Raises:
            InputError: As for ``statistics``.
        """
        return self.of_sum(self.statistics(replies, references).sum(axis=0))


def check_rows(replies: Sequence[str], references: Sequence[str]) -> None:
    """See that every row is one reply and one reference.

    ``evaluate`` looks at the first row only and takes a list for its letters later on; sacrebleu pairs lists of
    different lengths as far as the shorter one goes. Both give a score.

    Raises:
        InputError: ``metric_rows`` for different numbers of them or none, ``metric_row`` for one that is no text,
            ``metric_reference_empty`` for a reference that no reply can match.
    """
    if isinstance(replies, str) or isinstance(references, str) or len(replies) != len(references) or not len(replies):
        counts = [len(each) if not isinstance(each, str) else 1 for each in (replies, references)]
        raise InputError("metric_rows", replies=counts[0], references=counts[1])
    for kind, texts in (("reply", replies), ("reference", references)):
        for number, text in enumerate(texts, 1):
            if not isinstance(text, str):
                raise InputError("metric_row", row=number, kind=kind, found=type(text).__name__)
            if kind == "reference" and not text.strip():
                raise InputError("metric_reference_empty", row=number)
