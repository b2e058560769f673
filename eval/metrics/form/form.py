"""For ``evaluate.load("eval/metrics/form")``."""

from eval.metrics import interface

__all__ = ["Form"]


class Form(interface.RowMetric):
    """How many replies pass every check of the form that was asked for, in percent."""

    key = "form"
    columns = ("forms",)
