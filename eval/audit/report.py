"""The report of an audit: as data, as Markdown, and what its page and the terminal share with those."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eval.audit.measuring import ALPHA, Figure, Line, Measure, Part
from eval.report import bracketed, flat
from eval.scoring import plain
from eval.statistics import Interval
from pipelines.generation import Note
from pipelines.home import megabytes
from pipelines.wording import sentence, sentences

__all__ = ["Audit", "Words", "amount", "chance", "ends", "markdown", "to_json"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Audit:
    """What is reported.

    Attributes:
        sides: What the sides are called: the model, and the adapter where there is one.
        parts: What was measured.
        notes: What could not be.
        provenance: Where the numbers come from: engine, machine, versions, date.
        command: Command line that makes it again.
    """

    sides: tuple[str, ...]
    parts: tuple[Part, ...]
    notes: tuple[Note, ...]
    provenance: dict[str, Any]
    command: str


class Words:
    """The words of a report in one language.

    Args:
        language: ``en`` or ``zh``.
    """

    def __init__(self, language: str) -> None:
        self.language = "zh" if language.lower().startswith("zh") else "en"

    def say(self, name: str, **parameters: Any) -> str:
        """The sentence ``audit_<name>``."""
        return sentence(Note(f"audit_{name}", parameters), self.language)

    def note(self, note: Note) -> str:
        """A note as a sentence."""
        return sentence(note, self.language)

    def category(self, name: str) -> str:
        """A category in words; as it is where it comes from somebody else's rows."""
        return sentences().get(f"term_audit_{name}", {}).get(self.language, name or "–")

    def head(self, measure: Measure, sides: Sequence[str]) -> list[str]:
        """The words above the columns of ``cells``."""
        unit = self.say(f"unit_{measure.unit}")
        named = len(sides) > 1
        sides = [sides[place] for place in measure.sides] or sides
        columns = [self.say("category"), self.say("rows")]
        for side in sides:
            columns += [f"{side} ({unit})" if named else unit, self.say("interval")]
        if len(sides) > 1:
            columns += [self.say("difference"), self.say("interval"), "p", self.say("reading")]
        elif measure.neutral is not None:
            columns += ["p", self.say("reading")]
        return columns

    def facts(self, part: Part) -> list[list[str]]:
        """Lines of numbers that are no statistics: the name, then each side."""
        return [[self.say(name), *(self._fact(name, value) for value in values)] for name, values in part.facts]

    def _fact(self, name: str, value: float | None) -> str:
        if value is None:
            return self.say("unknown")
        if name.endswith("memory"):
            return megabytes(round(value))
        return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"

    def cells(self, measure: Measure, line: Line) -> list[str]:
        """A line of a table."""
        found = [self.category(line.category), str(line.figures[0].rows)]
        for figure in line.figures:
            found += [amount(figure.value, measure.unit), ends(figure.interval, measure.unit)]
        if line.change:
            gap = line.change
            signed = amount(gap.difference, measure.unit, sign=True)
            found += [signed, ends(gap.interval, measure.unit, sign=True), chance(gap.p_value), self.say(gap.verdict)]
        elif measure.neutral is not None:
            found += [chance(line.figures[0].p_value), self._leaning(measure, line.figures[0])]
        return found

    def _leaning(self, measure: Measure, figure: Figure) -> str:
        if figure.p_value is None or not figure.p_value < ALPHA:
            return self.say("cannot_tell")
        return self.say(f"{measure.name}_above" if figure.value > (measure.neutral or 0.0) else f"{measure.name}_below")


def amount(value: float, unit: str, *, sign: bool = False) -> str:
    """A number as reports show it; percent without decimals that no such number of rows supports."""
    if not math.isfinite(value):
        return "–"
    digits = 1 if unit == "percent" else 2
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def ends(interval: Interval, unit: str, *, sign: bool = False) -> str:
    """An interval as reports show it."""
    if not math.isfinite(interval.low):
        return bracketed(interval)
    return f"[{amount(interval.low, unit, sign=sign)}, {amount(interval.high, unit, sign=sign)}]"


def chance(p_value: float | None) -> str:
    """A p-value as reports show it."""
    return "–" if p_value is None else f"{p_value:.2g}"


def to_json(audit: Audit, *, texts: bool = True) -> dict[str, Any]:
    """Plain JSON data.

    Args:
        audit: The report.
        texts: Whether it may hold what was asked and what models said.
    """
    parts = []
    for part in audit.parts:
        data = asdict(part)
        for measure in data["measures"]:
            for line in measure["lines"]:
                line["verdict"] = _verdict(line["change"])
        parts.append(data if texts else {**data, "examples": []})
    found: dict[str, Any] = plain({"schema_version": SCHEMA_VERSION, **asdict(audit), "parts": parts})
    return found


def markdown(audit: Audit, language: str = "en") -> str:
    """Markdown for a README or a model card: numbers only, so that it can be published."""
    words = Words(language)
    lines = [f"# {words.say('title')}: {_cell(' '.join(audit.sides))}", "", words.say("lead"), ""]
    lines += [*(f"- {_cell(words.note(note))}" for note in audit.notes), ""] if audit.notes else []
    for part in audit.parts:
        lines += [f"## {words.say(part.name)}", "", words.say(f"{part.name}_how"), ""]
        for measure in part.measures:
            lines += [f"**{words.say(measure.name)}** {words.say(f'{measure.name}_how')}", ""]
            lines += _table(words.head(measure, audit.sides), [words.cells(measure, line) for line in measure.lines])
        lines += _table(("", *audit.sides), words.facts(part))
        lines += [*(f"- {_cell(words.note(note))}" for note in part.notes), ""] if part.notes else []
        lines += [f"*{words.say('limits')}* {words.say(f'{part.name}_limits')}", ""]
    lines += [words.say("again"), "", "```bash", " ".join(audit.command.splitlines()).replace("```", "'''"), "```", ""]
    return "\n".join([*lines, *_table(("", ""), flat(audit.provenance))])


def _verdict(change: dict[str, Any] | None) -> str | None:
    if change is None:
        return None
    if not change["p_value"] < ALPHA:
        return "cannot_tell"
    return "higher" if change["difference"] > 0 else "lower"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    shown = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return [f"| {' | '.join(map(_cell, head))} |", f"|{'---|' * len(head)}", *shown, ""] if shown else []


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;").replace("`", "'").replace("](", "]\\(").replace("|", "\\|")
