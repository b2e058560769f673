"""Metrics: pure functions over texts, corpus scores with the statistics of each row that paired tests need.

``for_task`` gives those of a task; each is a ``Metric``.
"""

from eval.metrics.base import Metric
from eval.metrics.summarization import lead, rouge
from eval.metrics.translation import bleu, chrf, ter

__all__ = ["Metric", "bleu", "chrf", "for_task", "lead", "rouge", "ter"]


def for_task(task: str, language: str = "en") -> list[Metric]:
    """The metrics that compare a reply with a reference text, the leading one first; none for tasks that have no such.

    Args:
        task: Name of the task.
        language: Tag of the language of the replies.
    """
    if task == "translation":
        return [chrf(), bleu(language), ter(language)]
    if task == "summarization":
        return [rouge(kind, language) for kind in ("rouge1", "rouge2", "rougeLsum")]
    return []
