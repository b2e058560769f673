"""For ``evaluate.load("eval/metrics/rouge1")``."""

from eval.metrics import interface

__all__ = ["Rouge1"]


class Rouge1(interface.RowMetric):
    """ROUGE-1: single words in common with the reference (Lin 2004), in any script."""

    key = "rouge1"
    columns = ("references",)
