"""Metrics of others: a module for ``evaluate`` that lies in a folder becomes a metric, and nothing of ours changes."""

import math
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics.base import Metric, mean, row_by_row
from pipelines.errors import CinquainError, InputError

__all__ = ["from_module"]


def from_module(path: str | Path) -> Metric:
    """A metric from a module of ``evaluate``: a folder with a file of the same name, or that file.

    The file is executed. Its score of each row alone is averaged, as a module gives no statistics that add up: for a
    mean over rows that is its own score, for a corpus metric like BLEU it is not. Lower scores are better where the
    class says ``higher_is_better = False``.

    Args:
        path: Where it lies; never looked up anywhere else.

    Raises:
        InputError: ``metric_module_missing``, ``metric_module_broken``, or ``metric_module_columns`` for one that wants
            other columns than those in ``eval.metrics.interface``.
    """
    script = Path(path) if Path(path).suffix == ".py" else Path(path) / f"{Path(path).name}.py"
    if not script.is_file():
        raise InputError("metric_module_missing", path=str(path), expected=str(script))
    from eval.metrics.interface import COLUMNS, RowMetric, load_module

    try:
        module = load_module(script)
    except CinquainError:
        raise
    except Exception as error:
        raise InputError("metric_module_broken", path=str(script), problem=_problem(error)) from error
    if isinstance(module, RowMetric):
        from eval.metrics import named

        return named(module.key)
    choices = module.features if isinstance(module.features, list) else [module.features]
    known = {"predictions", *COLUMNS}
    columns = next((choice for choice in choices if "predictions" in choice and set(choice) <= known), None)
    if columns is None:
        raise InputError("metric_module_columns", path=str(script), found=list(choices[0]), known=sorted(known))
    name = script.stem
    signature = f"{name}|mean of rows|module sha256:{module._hash[:16]}"
    better = getattr(module, "higher_is_better", True)
    of_rows = row_by_row(partial(_of_row, module, columns, script))
    return Metric(name, name, signature, of_rows, mean, better, needs_references="references" in columns)


def _of_row(module: Any, columns: Any, script: Path, reply: str, row: BenchmarkRow) -> tuple[float, float]:
    given = {
        name: [_entry(name, row, listed=not hasattr(feature, "dtype"))]  # a Value has one, a list of them none
        for name, feature in columns.items()
        if name != "predictions"
    }
    given["predictions"] = [reply.encode("utf-8", "replace").decode()]
    try:
        result = dict(module.compute(**given))
    except Exception as error:
        raise CinquainError("metric_module_failed", path=str(script), row=row.id, problem=_problem(error)) from error
    numbers = {key: value for key, value in result.items() if isinstance(value, Real)}
    score = numbers.get(script.stem, next(iter(numbers.values())) if len(numbers) == 1 else None)
    if score is None:
        raise InputError("metric_module_scores", path=str(script), name=script.stem, found=list(result))
    return (float(score), 1) if math.isfinite(score) else (0, 0)


def _entry(name: str, row: BenchmarkRow, *, listed: bool) -> Any:
    """What a row has for a column; ``evaluate`` checks its kind."""
    if name == "references":
        return list(row.references) if listed else row.references[0]
    of_request = {"sources": "text", "conversations": "messages", "forms": "form"}
    found, key = (row.request, of_request[name]) if name in of_request else (row.facts, name)
    if key not in found:
        raise InputError("metric_column", row=row.id, column=name, problem=f"{key} is missing")
    return found[key]


def _problem(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
