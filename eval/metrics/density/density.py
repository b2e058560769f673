"""For ``evaluate.load("eval/metrics/density")``."""

from eval.metrics import interface

__all__ = ["Density"]


class Density(interface.RowMetric):
    """Mean length of the span from the source that a word of a summary stands in (Grusky et al. 2018)."""

    key = "density"
    columns = ("sources",)
