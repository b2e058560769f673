"""For ``evaluate.load("eval/metrics/rougeLsum")``."""

from eval.metrics import interface

__all__ = ["RougeLsum"]


class RougeLsum(interface.RowMetric):
    """ROUGE-Lsum: words in the order of the reference, sentence by sentence (Lin 2004), in any script."""

    key = "rougeLsum"
    columns = ("references",)
