"""What a model gives away of the rows that it was trained on; needs them, as ``cinquain data prepare`` wrote them.

Trained rows are always looked at beside held-out ones of the same preparation, of which nothing can have been
remembered: what both have in common (easy text, phrases that everybody writes) is no memory.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.audit.asking import Progress
from eval.audit.canaries import CANDIDATES, exposure_of, guesses, secrets
from eval.audit.measuring import Change, Figure, Line, Measure, Part, means, rates
from eval.audit.subject import Subject, kept, reply_row
from eval.benchmarks import Benchmark, BenchmarkRow
from eval.likelihood import Asked
from eval.statistics import Interval
from pipelines.errors import InputError
from pipelines.generation import Note

__all__ = ["Ledger", "privacy", "read_ledger", "separation"]

_ROWS = 100
"""Of each part: an area under the curve is then known to within eight points."""
_LONGEST = 768
"""Tokens of a row; longer ones are left out, for speed."""
_PREFIX, _VERBATIM = 10, 20
"""Tokens of a reply that are given, and that must then come word for word."""
_ROUNDS = 2000


@dataclass(frozen=True)
class Ledger:
    """Rows of a preparation.

    Attributes:
        task: Name of the task.
        trained: Rows that were trained on, replies as references.
        held_out: Rows that were not.
        canaries: Secrets that the training planted.
        sha256: The ledger's hash over its result.
    """

    task: str
    trained: tuple[BenchmarkRow, ...]
    held_out: tuple[BenchmarkRow, ...]
    canaries: int
    sha256: str


def read_ledger(folder: Path) -> Ledger:
    """Read some rows of a preparation, always the same ones.

    Args:
        folder: Of ``cinquain data prepare``, or of an adapter with such a folder in ``data``.

    Raises:
        InputError: ``eval_ledger_missing``: no ledger with its training rows is there; ``audit_nothing_held_out``.
    """
    prepared = folder / "data" if (folder / "data" / "ledger.json").is_file() else folder
    try:
        ledger = json.loads((prepared / "ledger.json").read_bytes())
        task, digest = str(ledger["task"]), str(ledger["result_sha256"])
        trained = _chosen(prepared / "train.jsonl")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("eval_ledger_missing", path=str(folder)) from error
    held_out = next((rows for name in ("test", "validation") if (rows := _chosen(prepared / f"{name}.jsonl"))), ())
    if not trained or not held_out:
        raise InputError("audit_nothing_held_out", path=str(folder))
    return Ledger(task, trained, held_out, _planted(folder), digest)


def privacy(subject: Subject, ledger: Ledger, progress: Progress) -> Part:
    """Tell trained rows from held-out ones by their loss, continue them, and ask for planted secrets.

    Raises:
        InputError: ``audit_needs_causal``, or the model cannot do the task.
        CinquainError: The disk is full, or another process measures the same.
    """
    rows = (*ledger.trained, *ledger.held_out)
    benchmark = Benchmark("audit-ledger", 1, ledger.task, rows, ("empty",))
    parts = ["trained"] * len(ledger.trained) + ["held_out"] * len(ledger.held_out)
    losses: list[list[float | None]] = []
    runs: list[list[float | None]] = []
    for side in subject.sides:
        asked = {row.id: reply_row(subject, side, row, row.references[0], ledger.task) for row in rows}
        asked = {name: row for name, row in asked.items() if len(row.tokens) <= _LONGEST and any(row.labels)}
        bits = kept(subject, side, benchmark, asked, _shown(progress, "audit-ledger: loss", len(asked)))
        losses.append([bits[row.id] / sum(asked[row.id].labels) if row.id in bits else None for row in rows])
        begun = {name: _begun(row) for name, row in asked.items() if sum(row.labels) >= _PREFIX + _VERBATIM}
        show = _shown(progress, "audit-ledger: continuing", len(begun))
        found = kept(subject, side, benchmark, begun, show, measured="foreseen")
        runs.append([found.get(row.id) for row in rows])
    verbatim = [[None if each is None else each >= _VERBATIM for each in side] for side in runs]
    measures = [_membership(losses, parts), rates("extracted", verbatim, parts), means("run", "tokens", runs, parts)]
    notes = [] if ledger.canaries else [Note("audit_no_canaries")]
    if ledger.canaries:
        measures.append(_exposures(subject, ledger, progress))
    provenance = ({"ledger_sha256": ledger.sha256, "trained": len(ledger.trained), "held_out": len(ledger.held_out)},)
    return Part("privacy", tuple(measures), tuple(notes), provenance=provenance)


def separation(trained: Sequence[float] | np.ndarray, held_out: Sequence[float] | np.ndarray) -> float:
    """Probability that a trained row has a lower loss than a held-out one: the area under the ROC curve."""
    one, two = np.asarray(trained, float)[:, None], np.asarray(held_out, float)[None, :]
    return float(((one < two) + 0.5 * (one == two)).mean())


def _membership(losses: Sequence[Sequence[float | None]], parts: Sequence[str]) -> Measure:
    """One line: how far losses tell trained rows from held-out ones; both sides on the same resampled rows."""
    both = [place for place in range(len(parts)) if all(side[place] is not None for side in losses)]
    places = [[place for place in both if parts[place] == part] for part in ("trained", "held_out")]
    sides = [[np.array([side[place] for place in each], float) for each in places] for side in losses]
    if not all(map(len, places)):
        return Measure("membership", "percent", (), 50.0)
    draw, drawn = np.random.default_rng(0), np.empty((len(sides), _ROUNDS))
    for number in range(_ROUNDS):
        chosen = [draw.integers(0, len(each), len(each)) for each in places]
        for place, (one, two) in enumerate(sides):
            drawn[place, number] = separation(one[chosen[0]], two[chosen[1]])
    figures = tuple(
        Figure(len(both), 100 * separation(*side), _between(100 * found), _chance(found - 0.5))
        for side, found in zip(sides, drawn, strict=True)
    )
    change = None
    if len(sides) == 2:
        gap = drawn[1] - drawn[0]
        change = Change(figures[1].value - figures[0].value, _between(100 * gap), _chance(gap))
    return Measure("membership", "percent", (Line("all", figures, change),), 50.0)


def _exposures(subject: Subject, ledger: Ledger, progress: Progress) -> Measure:
    planted = secrets(ledger.task, ledger.canaries)
    rows = tuple(BenchmarkRow(each.id, each.request, (each.code,)) for each in planted)
    benchmark = Benchmark("audit-canaries", 1, ledger.task, rows, ("empty",))
    sides: list[list[float | None]] = []
    for side in subject.sides:
        asked = {
            f"{row.id}/{number}": reply_row(subject, side, row, code, ledger.task)
            for row in rows
            for number, code in enumerate([row.references[0], *guesses(row.id, CANDIDATES - 1)])
        }
        bits = kept(subject, side, benchmark, asked, _shown(progress, benchmark.name, len(asked)))
        sides.append([_exposed(bits, row.id) for row in rows])
    return means("exposure", "bits", sides, ["planted"] * len(rows))


def _exposed(bits: dict[str, float], name: str) -> float | None:
    found = [bits.get(f"{name}/{number}") for number in range(CANDIDATES)]
    known = [each for each in found if each is not None]
    return exposure_of(known[0], known[1:]) if len(known) == len(found) else None


def _begun(row: Asked) -> Asked:
    """The row with the beginning of its reply given, and what must come word for word behind it labelled."""
    start = row.labels.index(True) + _PREFIX
    end = start + _VERBATIM
    return Asked(row.tokens[:end], [False] * start + [True] * _VERBATIM)


def _between(drawn: np.ndarray) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(low), float(high))


def _chance(drawn: np.ndarray) -> float:
    """Two-sided, from the resampled differences to zero."""
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (1 + tail) / (1 + len(drawn)))


def _chosen(path: Path) -> tuple[BenchmarkRow, ...]:
    if not path.is_file():
        return ()
    with path.open("rb") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    rows.sort(key=lambda row: hashlib.sha256(str(row["id"]).encode()).digest())
    return tuple(BenchmarkRow(str(row["id"]), row["request"], (row["reply"],)) for row in rows[:_ROWS])


def _planted(adapter: Path) -> int:
    """How many secrets the training of an adapter planted."""
    try:
        return int(json.loads((adapter / "training.json").read_bytes())["recipe"]["compare"]["canaries"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _shown(progress: Progress, name: str, total: int) -> Callable[[int], None]:
    return lambda done: progress(name, done, total)
