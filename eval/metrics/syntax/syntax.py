"""For ``evaluate.load("eval/metrics/syntax")``."""

from eval.metrics import interface

__all__ = ["Syntax"]


class Syntax(interface.RowMetric):
    """How many Python replies parse and are not empty, in percent; none is run."""

    key = "syntax"
