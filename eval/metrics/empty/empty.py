"""For ``evaluate.load("eval/metrics/empty")``."""

from eval.metrics import interface

__all__ = ["Empty"]


class Empty(interface.RowMetric):
    """How many replies are nothing but blank space, in percent."""

    key = "empty"
