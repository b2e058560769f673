"""For ``evaluate.load("eval/metrics/self_repetition")``."""

from eval.metrics import interface

__all__ = ["SelfRepetition"]


class SelfRepetition(interface.RowMetric):
    """Share of a reply's word pairs that an earlier turn of the model has already."""

    key = "self_repetition"
    columns = ("conversations",)
