"""For ``evaluate.load("eval/metrics/repetition")``."""

from eval.metrics import interface

__all__ = ["Repetition"]


class Repetition(interface.RowMetric):
    """Share of a reply's runs of four words that it has had already (Welleck et al. 2020)."""

    key = "repetition"
