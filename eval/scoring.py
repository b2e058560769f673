"""What a run is worth: scores with intervals, by kind of row, beside what costs nothing, and what a person must know.

Scores are computed from the records each time, never stored as the truth: a better metric scores an old run anew.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from eval.benchmarks import Benchmark, BenchmarkRow
from eval.floor import Floor, floor
from eval.metrics import Metric, named
from eval.records import Run
from eval.statistics import Interval, bootstrap, smallest_gap, wilson
from pipelines.errors import InputError
from pipelines.generation import Note

__all__ = [
    "UNKNOWN",
    "Floor",
    "MetricScore",
    "Score",
    "Scores",
    "answered",
    "plain",
    "row_scores",
    "score",
    "unit",
]

SCHEMA_VERSION = 1
_FEWEST_ROWS = 5
"""Of an interval by bootstrap: with fewer, it is little more than the lowest and the highest of them."""
UNKNOWN = Interval(math.nan, math.nan)
"""Where nothing can be said."""


@dataclass(frozen=True)
class Score:
    """A score of some rows.

    Attributes:
        value: On the metric's own scale; NaN where no row says anything.
        interval: 95 %: Wilson's for a rate, a seeded bootstrap over the rows for the rest; NaN where the rows are too
            few or too much alike for that.
        rows: How many rows it is of: those that the metric has something to say of.
    """

    value: float
    interval: Interval
    rows: int


@dataclass(frozen=True)
class MetricScore:
    """What one metric says of a run.

    Attributes:
        name: As reports show it.
        signature: Everything that changes a score.
        higher_is_better: Whether a better system scores higher; None where the metric only describes.
        is_rate: Whether it counts rows.
        total: Over all rows.
        kinds: By kind of row, where there are several and not every row is one of its own.
        baselines: Scores of replies that need no model: ``empty``, ``copy`` of what was given, ``lead``.
    """

    name: str
    signature: str
    higher_is_better: bool | None
    is_rate: bool
    total: Score
    kinds: dict[str, Score]
    baselines: dict[str, float]


@dataclass(frozen=True)
class Scores:
    """All that the records of a run say.

    Attributes:
        task: Name of the task.
        rows: Rows that were asked.
        metrics: The leading one first.
        failed: Rows that got no reply, by the code of the failure; each counts as an empty reply.
        cut: Replies that ended at their limit of tokens.
        empty: Replies without any text, failures not among them.
        gap: The smallest difference between two rates that so many rows show, in points; None where they show none.
        notes: What a person must know before believing a score.
    """

    task: str
    rows: int
    metrics: tuple[MetricScore, ...]
    failed: dict[str, int]
    cut: int
    empty: int
    gap: float | None
    notes: tuple[Note, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; what is not a number is None."""
        data: dict[str, Any] = plain({"schema_version": SCHEMA_VERSION, **asdict(self)})
        return data


def score(run: Run, benchmark: Benchmark, *, below: Floor | None = None, seed: int = 0) -> Scores:
    """Score a run.

    Args:
        run: The run.
        benchmark: What was run.
        below: What ``eval.floor.floor`` gave for the rows that the run answered; made where None.
        seed: Of the bootstraps.

    Raises:
        InputError: As for ``answered``; those of the metrics.
    """
    rows = answered((run,), benchmark)
    replies = [record.reply for record in run.records]
    below = below or floor(benchmark, rows)
    metrics, notes = [], list(run.notes)
    if len(rows) < len(benchmark.rows):
        notes.append(Note("eval_score_part", {"rows": len(rows), "total": len(benchmark.rows)}))
    for place, name in enumerate(benchmark.metrics):
        metric = named(name)
        statistics = metric.statistics(replies, rows)
        found = MetricScore(
            metric.name,
            metric.signature,
            metric.higher_is_better,
            metric.is_rate,
            _score(metric, statistics, seed),
            _by_kind(metric, statistics, rows, seed),
            below.baselines[name],
        )
        metrics.append(found)
        notes += below.notes[name]
        notes += _doubts(found, metric, statistics, leading=place == 0)
    failed = Counter(record.error for record in run.records if record.error)
    cut = sum(record.finish_reason == "length" for record in run.records)
    empty = sum(not record.error and not record.reply.strip() for record in run.records)
    counts = (("failed", failed.total()), ("cut", cut), ("empty", empty))
    notes += [Note(f"eval_score_{kind}", {"count": n, "rows": len(rows)}) for kind, n in counts if n]
    gap = smallest_gap(len(rows))
    points = 100 * gap if gap else None
    notes.append(
        Note("eval_score_power", {"rows": len(rows), "gap": f"{points:.1f}"})
        if points
        else Note("eval_score_power_none", {"rows": len(rows)})
    )
    return Scores(benchmark.task, len(rows), tuple(metrics), dict(failed), cut, empty, points, tuple(notes))


def answered(runs: Sequence[Run], benchmark: Benchmark) -> tuple[BenchmarkRow, ...]:
    """The rows of a benchmark that all of some runs have records of, in its order.

    Raises:
        InputError: ``eval_run_other_benchmark`` where rows or metrics have changed since, ``eval_run_no_rows`` where
            there are no such rows.
    """
    for run in runs:
        # A limited run is of a benchmark that has only its first rows.
        asked = replace(benchmark, rows=benchmark.rows[: run.rows])
        if run.benchmark_sha256 != asked.sha256:
            raise InputError(
                "eval_run_other_benchmark",
                folder=str(run.folder),
                ran=f"{run.benchmark}@{run.version} ({run.benchmark_sha256[:12]})",
                found=f"{benchmark.name}@{benchmark.version} ({asked.sha256[:12]})",
            )
    ids = set.intersection(*({record.row_id for record in run.records} for run in runs))
    rows = tuple(row for row in benchmark.rows if row.id in ids)
    if not rows:
        raise InputError("eval_run_no_rows", folders=[str(run.folder) for run in runs])
    return rows


def unit(metric: Metric) -> float:
    """What a rate of 1 is on the metric's scale: 100 where it speaks of percent."""
    return metric.of_sum(np.ones(2))


def row_scores(metric: Metric, statistics: np.ndarray) -> np.ndarray:
    """The score of each row alone, shape (rows,); NaN where the metric has nothing to say of it."""
    with np.errstate(all="ignore"):
        return np.array([metric.of_sum(row) for row in statistics])


def plain(data: Any) -> Any:
    """The same data with None for what JSON has no number for."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _score(metric: Metric, statistics: np.ndarray, seed: int) -> Score:
    total = statistics.sum(axis=0)
    value = metric.of_sum(total)
    if metric.is_rate:
        scale, found = unit(metric), wilson(round(total[0]), round(total[1]))
        return Score(value, Interval(scale * found.low, scale * found.high), round(total[1]))
    spoken_of = statistics[statistics.any(axis=1)]
    if len(spoken_of) < _FEWEST_ROWS:
        return Score(value, UNKNOWN, len(spoken_of))
    found = bootstrap(spoken_of, metric.of_sum, seed=seed)
    # Rows that are all alike say nothing of others, and resampling cannot show it: 0 in 24 would be "0.0000 ± 0.0000".
    alike = found.high - found.low <= 1e-9
    return Score(value, UNKNOWN if alike else found, len(spoken_of))


def _by_kind(metric: Metric, statistics: np.ndarray, rows: Sequence[BenchmarkRow], seed: int) -> dict[str, Score]:
    kinds = list(dict.fromkeys(row.kind for row in rows))
    if not 1 < len(kinds) < len(rows):
        return {}
    places = {kind: [place for place, row in enumerate(rows) if row.kind == kind] for kind in kinds}
    return {kind: _score(metric, statistics[mine], seed) for kind, mine in places.items()}


def _doubts(found: MetricScore, metric: Metric, statistics: np.ndarray, *, leading: bool) -> list[Note]:
    """Why this score may not mean what it seems to."""
    notes = []
    alone = row_scores(metric, statistics)
    alone = alone[~np.isnan(alone)]
    # At its good end a score is what one hopes for ("0 % in the wrong language"), unless the benchmark is there for it.
    good = 0 if found.higher_is_better is False else metric.best or 100
    hoped = found.higher_is_better is None or (len(alone) > 0 and math.isclose(alone[0], good, abs_tol=1e-9))
    # BLEU of any short row is 0, and that of all rows is not.
    same = len(alone) > 1 and np.ptp(alone) == 0 and math.isclose(alone[0], found.total.value, abs_tol=1e-9)
    if same and (leading or not hoped):
        notes.append(
            Note("eval_score_identical", {"metric": found.name, "rows": len(alone), "score": f"{alone[0]:.2f}"})
        )
    if not leading or found.higher_is_better is None:
        return notes
    sign = 1 if found.higher_is_better else -1
    reached = {kind: value for kind, value in found.baselines.items() if sign * (found.total.value - value) <= 0}
    if reached:
        kind = max(reached, key=lambda each: sign * reached[each])
        numbers = {"score": f"{found.total.value:.2f}", "free": f"{reached[kind]:.2f}"}
        notes.append(Note("eval_score_not_above", {"metric": found.name, "baseline": f"eval_{kind}", **numbers}))
    return notes
