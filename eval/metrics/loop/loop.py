"""For ``evaluate.load("eval/metrics/loop")``."""

from eval.metrics import interface

__all__ = ["Loop"]


class Loop(interface.RowMetric):
    """How many replies end in one passage again and again, in percent."""

    key = "loop"
