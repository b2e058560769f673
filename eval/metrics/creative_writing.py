"""Creative writing: whether a text has the form that was asked for."""

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics.base import Metric, percent, row_by_row
from pipelines.text.verse import check_form

__all__ = ["form"]


def form() -> Metric:
    """How many replies pass every check of their form (``pipelines.text.verse``); rows without one say nothing."""

    def of_row(reply: str, row: BenchmarkRow) -> tuple[float, float]:
        asked = row.request
        facts = check_form(reply, asked.get("form", "free"), row.language, asked.get("length"))
        return (all(fact.ok for fact in facts), 1) if facts else (0, 0)

    return Metric("form", "form", "form|all checks", row_by_row(of_row), percent, is_rate=True, best=100.0, worst=0.0)
