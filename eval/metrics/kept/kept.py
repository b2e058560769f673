"""For ``evaluate.load("eval/metrics/kept")``."""

from eval.metrics import interface

__all__ = ["Kept"]


class Kept(interface.RowMetric):
    """Share of numbers, placeholders, tags, code and addresses of the sources that replies still have."""

    key = "kept"
    columns = ("sources",)
