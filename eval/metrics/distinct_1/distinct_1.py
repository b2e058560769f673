"""For ``evaluate.load("eval/metrics/distinct_1")``."""

from eval.metrics import interface

__all__ = ["Distinct1"]


class Distinct1(interface.RowMetric):
    """Share of different words among those of all replies (Li et al. 2016)."""

    key = "distinct_1"
