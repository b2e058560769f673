"""What a judgement says: metrics of base and adapter with their verdicts, what was copied, and one plain sentence."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eval.statistics import Comparison
from pipelines.generation import Note
from pipelines.home import write_atomically

__all__ = ["Copying", "Judgement", "MetricResult", "save"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class MetricResult:
    """One metric of both sides.

    Attributes:
        name: As reports show it.
        signature: Everything that changes a score.
        higher_is_better: Whether a better system scores higher.
        comparison: The paired comparison, base first.
        adjusted_p_value: After Holm's correction for all metrics of the judgement.
        baselines: Scores of what needs no model: ``copy`` of the source, ``lead`` (its first sentences), ``majority``
            (the reply that training rows have most often).
    """

    name: str
    signature: str
    higher_is_better: bool
    comparison: Comparison
    adjusted_p_value: float
    baselines: dict[str, float]

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``cannot_tell``."""
        found = self.comparison.verdict
        if found == "cannot_tell" or self.adjusted_p_value >= self.comparison.alpha:
            return "cannot_tell"
        return "better" if (found == "higher") == self.higher_is_better else "worse"


@dataclass(frozen=True)
class Copying:
    """Spans that replies share with training rows and not with their requests, in words.

    Attributes:
        longest: The longest one of the adapter's replies.
        text: That span.
        mean: Mean over the adapter's replies.
        base_mean: Mean over the base's replies, which has not seen the rows: what is common anyway.
    """

    longest: int
    text: str
    mean: float
    base_mean: float


@dataclass(frozen=True)
class Judgement:
    """Whether an adapter helped.

    Attributes:
        task: Name of the task.
        rows: Held-out rows.
        part: ``test`` or ``validation``, whichever they come from.
        rows_sha256: Hash over those rows.
        metrics: The leading one first.
        copying: What was copied from the training rows.
        failed: Rows that got no answer, of base and adapter; they count as empty replies.
        cut: Replies that ended at their limit, of base and adapter.
    """

    task: str
    rows: int
    part: str
    rows_sha256: str
    metrics: list[MetricResult]
    copying: Copying
    failed: tuple[int, int]
    cut: tuple[int, int]
    schema_version: int = field(default=SCHEMA_VERSION)

    @property
    def verdict(self) -> Note:
        """A plain sentence on the leading metric."""
        first = self.metrics[0]
        found = first.comparison
        parameters = {
            "metric": first.name,
            "rows": found.rows,
            "base": round(found.first, 2),
            "adapter": round(found.second, 2),
            "low": round(found.interval.low, 2),
            "high": round(found.interval.high, 2),
            "p_value": f"{first.adjusted_p_value:.2g}",
        }
        if first.verdict == "better":
            return Note("judged_better", parameters)
        if first.verdict == "worse":
            return Note("judged_worse", parameters)
        if found.rows_needed is None or found.rows_needed <= found.rows:
            return Note("judged_alike", parameters)
        return Note("judged_cannot_tell", {**parameters, "needed": found.rows_needed})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, with the verdicts written out."""
        data = asdict(self)
        for entry, result in zip(data["metrics"], self.metrics, strict=True):
            entry["verdict"] = result.verdict
            entry["comparison"]["difference"] = result.comparison.difference
        return {**data, "verdict": asdict(self.verdict)}


def save(judgement: Judgement, folder: Path) -> Path:
    """Write ``judgement.json``: numbers only, but for the copied span, which makes it private."""
    path = folder / "judgement.json"
    write_atomically(path, json.dumps(judgement.to_json(), ensure_ascii=False, indent=1) + "\n", private=True)
    return path
