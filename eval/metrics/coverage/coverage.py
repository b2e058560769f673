"""For ``evaluate.load("eval/metrics/coverage")``."""

from eval.metrics import interface

__all__ = ["Coverage"]


class Coverage(interface.RowMetric):
    """Share of a summary's words in spans from its source (Grusky et al. 2018)."""

    key = "coverage"
    columns = ("sources",)
