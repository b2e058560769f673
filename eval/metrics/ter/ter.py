"""For ``evaluate.load("eval/metrics/ter")``."""

from eval.metrics import interface

__all__ = ["Ter"]


class Ter(interface.RowMetric):
    """TER: edits for each word of the reference (Snover et al. 2006); lower is better."""

    key = "ter"
    columns = ("references",)
