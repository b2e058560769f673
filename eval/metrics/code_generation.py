"""Code: whether it parses, and how many samples of it would be right. Nothing here runs code."""

import math

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics.base import Metric, percent, row_by_row
from pipelines.text.code import syntax_problem

__all__ = ["pass_at_k", "syntax"]


def syntax() -> Metric:
    """How many Python replies parse and are not empty; rows in other languages say nothing."""

    def of_row(reply: str, row: BenchmarkRow) -> tuple[float, float]:
        if row.request.get("language", "python") != "python":
            return 0, 0
        return bool(reply.strip()) and syntax_problem(reply) is None, 1

    # The grammar is that of the interpreter: 3.12 reads f-strings that 3.11 refuses.
    import platform

    signature = f"parses|Python {'.'.join(platform.python_version_tuple()[:2])}"
    return Metric("syntax", "parses", signature, row_by_row(of_row), percent, is_rate=True, best=100.0, worst=0.0)


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Probability that one of k samples passes, without bias (Chen et al. 2021, arXiv:2107.03374, equation 1).

    ``1 - (1 - passed / samples) ** k`` is too low.

    Args:
        samples: Programs that were drawn for a row.
        passed: How many of them passed its tests.
        k: How many one may hand in.

    Raises:
        ValueError: ``k`` is no number from 1 to ``samples``, or ``passed`` none from 0 to ``samples``.
    """
    if not (1 <= k <= samples and 0 <= passed <= samples):
        raise ValueError(f"pass@{k} of {samples} samples, {passed} of them passed")
    return 1 - math.comb(samples - passed, k) / math.comb(samples, k)
