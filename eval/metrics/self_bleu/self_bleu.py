"""For ``evaluate.load("eval/metrics/self_bleu")``."""

from eval.metrics import interface

__all__ = ["SelfBleu"]


class SelfBleu(interface.RowMetric):
    """BLEU of each reply against all others (Zhu et al. 2018); lower is better."""

    key = "self_bleu"
