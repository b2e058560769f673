"""For ``evaluate.load("eval/metrics/rouge2")``."""

from eval.metrics import interface

__all__ = ["Rouge2"]


class Rouge2(interface.RowMetric):
    """ROUGE-2: word pairs in common with the reference (Lin 2004), in any script."""

    key = "rouge2"
    columns = ("references",)
