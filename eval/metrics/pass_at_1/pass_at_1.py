"""For ``evaluate.load("eval/metrics/pass_at_1")``."""

from eval.metrics import interface

__all__ = ["PassAt1"]


class PassAt1(interface.RowMetric):
    """How many programs pass their tests, in percent; each runs in the sandbox, and sees no test."""

    key = "pass_at_1"
    columns = ("tests",)
