"""For ``evaluate.load("eval/metrics/distinct_2")``."""

from eval.metrics import interface

__all__ = ["Distinct2"]


class Distinct2(interface.RowMetric):
    """Share of different word pairs among those of all replies (Li et al. 2016)."""

    key = "distinct_2"
