"""For ``evaluate.load("eval/metrics/prompt_coverage")``."""

from eval.metrics import interface

__all__ = ["PromptCoverage"]


class PromptCoverage(interface.RowMetric):
    """Share of the keywords of a brief that the replies mention."""

    key = "prompt_coverage"
    columns = ("keywords",)
