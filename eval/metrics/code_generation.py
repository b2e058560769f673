"""Code: whether it parses, whether it passes its tests, and how many samples of it would."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics.base import Metric, percent, row_by_row
from eval.sandbox import Status, available_tier, judge
from pipelines.text.code import syntax_problem

__all__ = ["pass_at_1", "pass_at_k", "syntax"]

_NOTHING_SAID = ("unsupported", "untested")


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


def pass_at_1() -> Metric:
    """How many programs pass the tests of their row, each run in the sandbox on its own.

    It says nothing of rows without ``tests``, nor where this machine has no sandbox that holds (``metric_no_sandbox``).
    """
    tier = available_tier()
    signature = f"pass@1|sandbox:{tier or 'none'}"
    return Metric(
        "pass_at_1", "pass@1", signature, _of_programs, percent, is_rate=True, best=100.0, worst=0.0,
        silent="metric_silent" if tier else "metric_no_sandbox",
    )  # fmt: skip


def _of_programs(replies: Sequence[str], rows: Sequence[BenchmarkRow]) -> np.ndarray:
    found = np.zeros((len(rows), 2))
    judged = [place for place, row in enumerate(rows) if row.facts.get("tests")]
    if not judged or available_tier() is None:
        return found
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        statuses = pool.map(lambda place: _status(replies[place], *_tests(rows[place])), judged)
        for place, status in zip(judged, statuses, strict=True):
            found[place] = (status == "passed", status not in _NOTHING_SAID)
    return found


@lru_cache(maxsize=4096)
def _status(code: str, tests: str, entry_point: str | None, prelude: str) -> Status:
    """A program is judged once, however often a report is made of its run."""
    return judge(code, tests, entry_point=entry_point, prelude=prelude).status


def _tests(row: BenchmarkRow) -> tuple[str, str | None, str]:
    """Tests of a row, the function that they ask for, and the helpers before it in the signature, which tests use."""
    tests, entry_point = row.facts["tests"], row.facts.get("entry_point")
    tests = tests if isinstance(tests, str) else "\n".join(tests)
    before = (row.request.get("signature") or "").rpartition(f"def {entry_point}(")[0]
    return tests, entry_point, before if syntax_problem(before) is None else ""


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
