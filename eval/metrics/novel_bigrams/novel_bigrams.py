"""For ``evaluate.load("eval/metrics/novel_bigrams")``."""

from eval.metrics import interface

__all__ = ["NovelBigrams"]


class NovelBigrams(interface.RowMetric):
    """Share of a summary's word pairs that its source lacks."""

    key = "novel_bigrams"
    columns = ("sources",)
