"""For ``evaluate.load("eval/metrics/copy")``."""

from eval.metrics import interface

__all__ = ["Copy"]


class Copy(interface.RowMetric):
    """How many replies are the source as it was, or nearly so, in percent."""

    key = "copy"
    columns = ("sources",)
