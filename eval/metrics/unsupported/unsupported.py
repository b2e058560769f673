"""For ``evaluate.load("eval/metrics/unsupported")``."""

from eval.metrics import interface

__all__ = ["Unsupported"]


class Unsupported(interface.RowMetric):
    """How many summaries have a number or a name that their source lacks, in percent."""

    key = "unsupported"
    columns = ("sources",)
