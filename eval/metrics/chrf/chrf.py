"""For ``evaluate.load("eval/metrics/chrf")``."""

from eval.metrics import interface

__all__ = ["Chrf"]


class Chrf(interface.RowMetric):
    """chrF++: characters up to six and words up to two in a row (Popović 2017)."""

    key = "chrf"
    columns = ("references",)
