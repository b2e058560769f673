"""For ``evaluate.load("eval/metrics/compression")``."""

from eval.metrics import interface

__all__ = ["Compression"]


class Compression(interface.RowMetric):
    """Words of all sources for each word of the summaries."""

    key = "compression"
    columns = ("sources",)
