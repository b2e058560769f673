"""For ``evaluate.load("eval/metrics/wrong_language")``."""

from eval.metrics import interface

__all__ = ["WrongLanguage"]


class WrongLanguage(interface.RowMetric):
    """How many replies are in another language than ``language``, in percent."""

    key = "wrong_language"
