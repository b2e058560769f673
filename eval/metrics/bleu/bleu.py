"""For ``evaluate.load("eval/metrics/bleu")``."""

from eval.metrics import interface

__all__ = ["Bleu"]


class Bleu(interface.RowMetric):
    """BLEU (Papineni et al. 2002), with the tokenizer that each language needs."""

    key = "bleu"
    columns = ("references",)
