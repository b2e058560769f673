"""audit.html: an audit as a page for a person who has never heard of these measures.

One file that fetches nothing and runs nothing, in the style of ``eval/report.html``; every text is escaped.
"""

import base64
import hashlib
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

from eval.audit.measuring import Figure, Line, Measure
from eval.audit.report import Audit, Words
from eval.report import flat

__all__ = ["render"]

_STYLED = Path(__file__).parent.with_name("report.html")
_TEMPLATE = Path(__file__).with_name("page.html")
_NARROW = ".two svg.axis { width: 6rem; }\n"
"""Two sides and their difference must stand beside each other without scrolling."""
_SHOWN_CHARACTERS = 1200
"""Of an example."""


def render(audit: Audit, language: str = "en", *, texts: bool = True) -> str:
    """The page.

    Args:
        audit: What it shows.
        language: ``en`` or ``zh``.
        texts: Whether it shows what was asked and what models said, which makes it a private file.
    """
    words, style = Words(language), _style()
    page = _template().render(
        audit=audit,
        texts=texts,
        words=words,
        say=words.say,
        language="zh-Hans" if words.language == "zh" else "en",
        style=style,
        style_sha256=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        facts=flat(audit.provenance),
        plot=_plot,
        shown=_SHOWN_CHARACTERS,
    )
    return str(page).encode("utf-8", "replace").decode()


def _plot(measure: Measure, line: Line, figure: Figure) -> dict[str, float | None]:
    """Where a figure lies on an axis that all lines of the measure share, from 0 to 100; the neutral value marked."""
    low, high = _axis(measure)

    def place(value: float) -> float:
        return round(min(100.0, max(0.0, 100 * (value - low) / (high - low))), 2) if math.isfinite(value) else 0.0

    neutral = None if measure.neutral is None else place(measure.neutral)
    known = math.isfinite(figure.interval.low)
    return {
        "value": place(figure.value),
        "low": place(figure.interval.low) if known else place(figure.value),
        "high": place(figure.interval.high) if known else place(figure.value),
        "neutral": neutral,
    }


def _axis(measure: Measure) -> tuple[float, float]:
    if measure.unit == "percent":
        return 0.0, 100.0
    figures = [figure for line in measure.lines for figure in line.figures]
    numbers = [each for figure in figures for each in (figure.value, figure.interval.low, figure.interval.high)]
    known = [each for each in (*numbers, measure.neutral or 0.0) if math.isfinite(each)]
    low, high = min(known), max(known)
    return (low, high) if high > low else (low - 1, high + 1)


@cache
def _style() -> str:
    found = re.search(r"<style>(.*?)</style>", _STYLED.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return f"{found[1]}{_NARROW}"


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["css"] = Markup
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
