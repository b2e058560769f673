"""What a benchmark is: rows of one task, the metrics that judge the replies, and a hash over all of it."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

__all__ = ["Benchmark", "BenchmarkRow"]


@dataclass(frozen=True)
class BenchmarkRow:
    """One thing to ask, and what is known of a good reply.

    Attributes:
        id: Its name within the benchmark.
        request: Fields of the task's request, plain JSON data, defaults left out.
        references: Good replies; none for tasks that are judged without.
        language: Tag of the language of the reply.
        kind: What sort of row it is; reports show scores by kind.
        facts: What metrics of this task need beside the reply: ``tests`` of a program, ``keywords`` of a text.
    """

    id: str
    request: dict[str, Any]
    references: tuple[str, ...] = ()
    language: str = "en"
    kind: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """A versioned set of rows.

    Attributes:
        name: How results name it.
        version: Raised whenever rows or metrics change: scores of two versions are never compared.
        task: Name of the task.
        rows: The rows.
        metrics: Names of the metrics, the leading one first.
        max_new_tokens: Of each reply; the task's default where None.
        licence: Of the rows.
        origin: Where the rows come from, for a person.
        remarks: What a person should know before trusting a score: what it cannot show, traps.
    """

    name: str
    version: int
    task: str
    rows: tuple[BenchmarkRow, ...]
    metrics: tuple[str, ...]
    max_new_tokens: int | None = None
    licence: str = ""
    origin: str = ""
    remarks: str = ""

    @cached_property
    def sha256(self) -> str:
        """Hash over everything that decides a score."""
        parts = [
            self.name,
            self.version,
            self.task,
            self.metrics,
            self.max_new_tokens,
            [asdict(row) for row in self.rows],
        ]
        return hashlib.sha256(
            json.dumps(parts, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")
        ).hexdigest()
