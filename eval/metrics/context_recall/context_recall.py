"""For ``evaluate.load("eval/metrics/context_recall")``."""

from eval.metrics import interface

__all__ = ["ContextRecall"]


class ContextRecall(interface.RowMetric):
    """Share of the keywords of a conversation that the replies mention."""

    key = "context_recall"
    columns = ("keywords",)
