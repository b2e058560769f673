"""Metrics: pure functions over texts, corpus scores with the statistics of each row that paired tests need.

``named`` gives one, ``for_task`` the names of a task's; ``self_test`` says what is wrong with one on a benchmark, and
``from_module`` makes one of anybody's module for Hugging Face's ``evaluate``.

A folder here whose name is a metric's is that metric on the interface of ``evaluate``: ``load("eval/metrics/chrf")``.
"""

from collections.abc import Callable
from functools import cache, partial

from eval.metrics import (
    code_generation,
    creative_writing,
    dialogue,
    diversity,
    general,
    summarization,
    translation,
)
from eval.metrics.base import Metric
from eval.metrics.checking import self_test
from eval.metrics.code_generation import pass_at_k
from eval.metrics.loading import from_module
from eval.metrics.summarization import lead
from pipelines.errors import InputError
from pipelines.tasks import TASKS

__all__ = ["METRICS", "Metric", "for_task", "from_module", "lead", "named", "pass_at_k", "self_test"]

METRICS: dict[str, Callable[[], Metric]] = {
    "chrf": translation.chrf,
    "bleu": translation.bleu,
    "ter": translation.ter,
    "wrong_language": translation.wrong_language,
    "copy": translation.copy,
    "kept": translation.kept,
    **{kind: partial(summarization.rouge, kind) for kind in ("rouge1", "rouge2", "rougeLsum")},
    "unsupported": summarization.unsupported,
    "compression": summarization.compression,
    "coverage": summarization.coverage,
    "density": summarization.density,
    "novel_bigrams": summarization.novel_bigrams,
    "context_recall": partial(general.keywords, "context_recall", "recall of the context"),
    "self_repetition": dialogue.self_repetition,
    "echo": dialogue.echo,
    "role_leak": dialogue.role_leak,
    "pass_at_1": code_generation.pass_at_1,
    "syntax": code_generation.syntax,
    "form": creative_writing.form,
    "prompt_coverage": partial(general.keywords, "prompt_coverage", "coverage of the brief"),
    "distinct_1": partial(diversity.distinct, 1),
    "distinct_2": partial(diversity.distinct, 2),
    "self_bleu": diversity.self_bleu,
    "repetition": diversity.repetition,
    "loop": diversity.loop,
    "empty": general.empty,
}
"""By the names that benchmarks give."""


@cache
def named(name: str) -> Metric:
    """The metric of this name, or that in the module at this path.

    Args:
        name: One of ``METRICS``; with a slash in it, or ending in ``.py``, a path for ``from_module``.

    Raises:
        InputError: ``metric_unknown`` with the nearest names; as for ``from_module``.
    """
    if "/" in name or name.endswith(".py"):
        return from_module(name)
    if name not in METRICS:
        from difflib import get_close_matches

        near = get_close_matches(name, METRICS, n=3, cutoff=0.5) or list(METRICS)
        raise InputError("metric_unknown", found=name, nearest=near)
    return METRICS[name]()


def for_task(task: str) -> tuple[str, ...]:
    """Names of the metrics of a task, the leading one first."""
    return TASKS[task].metrics
