"""report.html: a report as a page for a person, with plots, and with texts side by side where they differ.

The page is one file that fetches nothing and runs nothing: its content security policy allows no more than its own
style, by hash. What models said and what benchmarks ask is escaped.
"""

import base64
import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from eval.benchmarks import BenchmarkRow
from eval.comparing import Piece, RunComparison, signed, word_diff
from eval.metrics import named
from eval.records import Run
from eval.report import Report, Section, arrow, bracketed, facts, flat, number
from eval.scoring import MetricScore, answered, row_scores
from pipelines.generation import Note
from pipelines.home import megabytes
from pipelines.wording import sentence

__all__ = ["render"]

_TEMPLATE = Path(__file__).with_name("report.html")
_SHOWN_ROWS = 20
"""Rows of a comparison whose texts stand on the page, those that changed most: more, nobody reads."""
_WORST_ROWS = 10
_BINS = 16
_SHOWN_CHARACTERS = 4000
"""Of a text: a reply that repeats itself to its limit says no more beyond that."""


@dataclass(frozen=True)
class _Plot:
    """Where things lie on an axis from 0 to 100."""

    low: float
    high: float
    value: float
    marks: tuple[float, ...] = ()


@dataclass(frozen=True)
class _ShownRow:
    """Two texts of a row beside each other; ``left`` is None where there is nothing to set the reply beside."""

    id: str
    asked: str
    scores: str
    left: list[Piece] | None
    right: list[Piece]


def render(report: Report, language: str = "en", *, texts: bool = True) -> str:
    """The page.

    Args:
        report: What it shows.
        language: ``en`` or ``zh``.
        texts: Whether it shows what was asked and what models said, which makes it a private file.
    """
    language = "zh" if language.lower().startswith("zh") else "en"

    def say(name: str, **parameters: Any) -> str:
        return sentence(Note(f"eval_report_{name}", parameters), language)

    report = report if texts else report.public()
    page = _template().render(
        report=report,
        texts=texts,
        say=say,
        said=lambda note: sentence(note, language),
        language="zh-Hans" if language == "zh" else "en",
        style_sha256=_style_sha256(),
        label=report.label,
        arrow=arrow,
        interval=bracketed,
        facts=facts,
        costs=lambda run: _costs(run, say),
        plot=_plot,
        difference_plot=_difference_plot,
        histogram=_histogram,
        worst=_worst,
        changed=lambda comparison, rows: _changed(comparison, rows, say("reference")),
        shown_rows=_SHOWN_ROWS,
    )
    return str(page).encode("utf-8", "replace").decode()  # half of a surrogate pair cannot be written


def _plot(metric: MetricScore) -> _Plot:
    """A score on an axis from 0 to 100, or to the largest number there is where a metric goes further."""
    known = [metric.total.value, metric.total.interval.high, *metric.baselines.values()]
    numbers = [value for value in known if math.isfinite(value)]
    # Below 5 it is no percentage: bits per byte, a density.
    top = 100.0 if 5 <= max(numbers, default=0) <= 100 else max(numbers, default=0) * 1.1 or 1.0

    def place(value: float) -> float:
        return round(min(100.0, max(0.0, 100 * value / top)), 2) if math.isfinite(value) else 0.0

    interval = metric.total.interval
    marks = tuple(place(value) for value in metric.baselines.values())
    return _Plot(place(interval.low), place(interval.high), place(metric.total.value), marks)


def _difference_plot(comparison: Any) -> _Plot:
    """A difference with its interval, zero in the middle."""
    ends = [abs(value) for value in (comparison.interval.low, comparison.interval.high) if math.isfinite(value)]
    reach = max([*ends, abs(comparison.difference) if math.isfinite(comparison.difference) else 0]) * 1.2 or 1.0

    def place(value: float) -> float:
        return round(50 + 50 * value / reach, 2) if math.isfinite(value) else 50.0

    interval = comparison.interval
    return _Plot(place(interval.low), place(interval.high), place(comparison.difference))


def _histogram(section: Section) -> list[tuple[float, float, int]]:
    """Seconds that rows took: (from, to, rows) of bins of the same width; none where no row says."""
    seconds = [record.seconds for record in section.run.records if record.seconds]
    if not seconds:
        return []
    low, high = min(seconds), max(seconds)
    width = (high - low) / _BINS or high / _BINS
    counts = [0] * _BINS
    for value in seconds:
        counts[min(_BINS - 1, int((value - low) / width))] += 1
    return [(low + place * width, low + (place + 1) * width, count) for place, count in enumerate(counts)]


def _costs(run: Run, say: Callable[..., str]) -> list[tuple[str, str]]:
    """What a run cost, in words; what the machine could not tell is said to be unknown."""
    found = []
    for name, value in run.costs.items():
        if value is None:
            shown = say("unknown")
        elif name.endswith("memory"):
            shown = megabytes(value)
        else:
            shown = f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"
        found.append((say(f"cost_{name}"), shown))
    return found


def _worst(section: Section) -> list[_ShownRow]:
    """The rows with the worst scores, each beside its reference where there is one."""
    run, benchmark = section.run, section.benchmark
    metric = named(benchmark.metrics[0])
    rows = answered((run,), benchmark)
    scores = row_scores(metric, metric.statistics([record.reply for record in run.records], rows))
    sign = -1 if metric.higher_is_better is False else 1
    known = [place for place in range(len(scores)) if not math.isnan(scores[place])]
    order = sorted(known, key=lambda place: (sign * scores[place], place))
    shown = []
    for place in order[:_WORST_ROWS]:
        row, reply = rows[place], _short(run.records[place].reply)
        left, right = word_diff(_short(row.references[0]), reply) if row.references else (None, [Piece(reply, False)])
        shown.append(_ShownRow(row.id, _asked(row), number(scores[place]), left, right))
    return shown


def _changed(comparison: RunComparison, rows: Sequence[BenchmarkRow], reference: str) -> list[_ShownRow]:
    by_id = {row.id: row for row in rows}
    shown = []
    for change in comparison.changes[:_SHOWN_ROWS]:
        left, right = word_diff(_short(change.first_reply), _short(change.second_reply))
        scores = f"{number(change.first_score)} → {number(change.second_score)}"
        row = by_id[change.row_id]
        asked = "\n".join([_asked(row), *(f"{reference}: {_short(text)}" for text in row.references[:1])])
        shown.append(_ShownRow(change.row_id, asked, scores, left, right))
    return shown


def _asked(row: BenchmarkRow) -> str:
    """The fields of a request as a person reads them."""
    return _short("\n".join(f"{name}: {value}" for name, value in flat(row.request)))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} […]"


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, signed=signed)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


@cache
def _style_sha256() -> str:
    found = re.search(r"<style>(.*?)</style>", _TEMPLATE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
