"""For ``evaluate.load("eval/metrics/echo")``."""

from eval.metrics import interface

__all__ = ["Echo"]


class Echo(interface.RowMetric):
    """Share of a reply's word pairs that the user's last turn has."""

    key = "echo"
    columns = ("conversations",)
