"""What answering costs: memory, speed, energy where the machine tells, and a price at a given tariff."""

from typing import Any

from eval.audit.asking import Progress, asked, shipped
from eval.audit.measuring import Part
from eval.audit.subject import Subject
from eval.records import Run

__all__ = ["cost"]

_NAMES = (
    *("cost_requests", "cost_prompt_tokens", "cost_completion_tokens", "cost_seconds", "cost_tokens_per_s"),
    *("cost_peak_memory", "cost_peak_gpu_memory", "cost_joules", "cost_price"),
)


def cost(subject: Subject, progress: Progress, tariff: float | None = None) -> Part:
    """Measured on the beginnings of stories: 64 short requests in batches, as a service would run them.

    Args:
        subject: Who is audited.
        progress: As for ``eval.audit.asking.asked``.
        tariff: Price of this machine for an hour; None where it is unknown.
    """
    found = asked(subject, shipped("openings"), progress)
    sides = [_figures(each, tariff, subject) for each in found.runs]
    facts = tuple((name, tuple(side[name] for side in sides)) for name in _NAMES)
    return Part("cost", (), facts=facts, provenance=found.provenance())


def _figures(run: Run, tariff: float | None, subject: Subject) -> dict[str, float | None]:
    costs: dict[str, Any] = run.costs
    rows = len(run.records)
    seconds = costs["wall_s"] / rows if rows else None
    joules = costs["joules"] / rows if rows and costs["joules"] is not None else None
    figures = (
        *(rows, _each(costs["prompt_tokens"], rows), _each(costs["completion_tokens"], rows), seconds),
        *(costs["tokens_per_s"], costs["peak_memory"], costs["peak_gpu_memory"], joules),
        _price(costs, rows, tariff, subject),
    )
    return dict(zip(_NAMES, figures, strict=True))


def _each(total: float, rows: int) -> float | None:
    return total / rows if rows else None


def _price(costs: dict[str, Any], rows: int, tariff: float | None, subject: Subject) -> float | None:
    """Of 1,000 requests: by the hour on this machine, by the token where a server has its prices."""
    if not rows:
        return None
    prices = [subject.engine_options.get(name) for name in ("price_prompt", "price_completion")]
    if any(price is not None for price in prices):
        tokens = costs["prompt_tokens"], costs["completion_tokens"]
        spent = sum(float(price or 0) * count / 1e6 for price, count in zip(prices, tokens, strict=True))
        return 1000 * spent / rows
    return None if tariff is None else 1000 * tariff * costs["wall_s"] / 3600 / rows
