"""The ledger: what became of every row, in sums that close.

Counted per step, a row that enters either leaves it (as one row or, split, as several) or is dropped for a reason. So
``out = in + added - dropped`` holds for each step and what leaves one enters the next; ``problems`` checks both.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from finetune.data.row import Outcome

__all__ = ["SCHEMA_VERSION", "STEPS", "Ledger", "SourceEntry", "SplitEntry", "StepEntry", "merged"]

SCHEMA_VERSION = 1

STEPS = (
    "read",
    "recognise",
    "repair",
    "normalize",
    "lengths",
    "language",
    "personal_data",
    "overlap",
    "too_long",
    "exact_duplicates",
    "near_duplicates",
    "held_out_groups",
    "weights",
)
"""Names of the steps in their order; those that are off do not appear in a ledger."""


@dataclass
class StepEntry:
    """What one step did.

    Attributes:
        entered: Rows that came in.
        changed: Rows that left it otherwise than they came.
        added: Rows that it made beyond those that came in: pieces of split rows but their first, repetitions.
        dropped: Rows that ended here, by reason.
        changes: How often each kind of change was made, in rows.
        left: Rows that went on.
    """

    entered: int = 0
    changed: int = 0
    added: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    left: int = 0

    def count(self, outcome: Outcome, *, changed: bool) -> None:
        """Enter what became of one row."""
        self.entered += 1
        self.left += len(outcome.rows)
        self.changes.update(set(outcome.changes))
        if not outcome.rows:
            self.dropped[outcome.reason] += 1
            return
        self.added += len(outcome.rows) - 1
        self.changed += changed

    def pass_on(self) -> None:
        """Enter a row that leaves as it came."""
        self.entered += 1
        self.left += 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; ``asdict`` would make a counter of pairs of each counter."""
        return {**vars(self), "dropped": dict(self.dropped), "changes": dict(self.changes)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "StepEntry":
        """The entry that ``to_json`` gave."""
        return cls(**{**data, "dropped": Counter(data["dropped"]), "changes": Counter(data["changes"])})

    def add(self, other: "StepEntry") -> None:
        """Put the count of other rows to this one."""
        self.entered += other.entered
        self.changed += other.changed
        self.added += other.added
        self.dropped.update(other.dropped)
        self.changes.update(other.changes)
        self.left += other.left


@dataclass
class SourceEntry:
    """One source: what was read, and what of it was written."""

    name: str
    path: str
    format: str
    sha256: str
    """Of the file as it was read; of id, revision and fingerprint for a data set of the Hub."""
    read: int = 0
    kept: int = 0


@dataclass
class SplitEntry:
    """One written file."""

    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    """Tokens that carry loss."""
    characters: int = 0
    sha256: str = ""


@dataclass
class Ledger:
    """The account of a prepared data set. Holds no text of any row: those are in private files beside it.

    Attributes:
        task: Name of the task.
        steps: What each step did, in order.
        sources: What was read.
        splits: What was written: ``train``, ``validation``, ``test``.
        tokens: ``before`` and ``after`` (rows that reached the count, rows that were written), ``model``,
            ``max_tokens``, ``over_long`` rows, ``eos_lost_share``: the share of rows that would lose their end of
            sequence if they were cut.
        lengths: Rows by tokens, in powers of two: the key is the largest number that still counts.
        languages: Rows by the language of their reply, ``und`` where it is not sure.
        result_sha256: Hash over what was written: the same for any number of processes and interruptions.
        config: The whole configuration.
        provenance: Versions, machine, command line, time.
        schema_version: Version of this format.
    """

    task: str
    steps: dict[str, StepEntry] = field(default_factory=dict)
    sources: list[SourceEntry] = field(default_factory=list)
    splits: dict[str, SplitEntry] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    languages: dict[str, int] = field(default_factory=dict)
    result_sha256: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def problems(self) -> list[str]:
        """Sums that do not close, as text; none in a sound ledger."""
        found = []
        for name, step in self.steps.items():
            if step.left != step.entered + step.added - step.dropped.total():
                found.append(
                    f"{name}: {step.entered} in, {step.added} added, {step.dropped.total()} dropped, {step.left} out"
                )
        names = list(self.steps)
        for before, after in pairwise(names):
            if self.steps[before].left != self.steps[after].entered:
                found.append(f"{self.steps[before].left} left {before}, {self.steps[after].entered} entered {after}")
        written = sum(split.rows for split in self.splits.values())
        if names and self.steps[names[-1]].left != written:
            found.append(f"{self.steps[names[-1]].left} left {names[-1]}, {written} were written")
        read = sum(source.read for source in self.sources)
        if names and self.steps[names[0]].entered != read:
            found.append(f"{read} were read, {self.steps[names[0]].entered} entered {names[0]}")
        return found

    @property
    def read(self) -> int:
        """Records that were read."""
        return sum(source.read for source in self.sources)

    @property
    def kept(self) -> int:
        """Rows that were written."""
        return sum(split.rows for split in self.splits.values())

    def dropped(self) -> Counter[str]:
        """Rows that were dropped, by step and reason: ``lengths.reply_empty``."""
        return Counter(
            {f"{name}.{reason}": n for name, step in self.steps.items() for reason, n in step.dropped.items()}
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        steps = {name: step.to_json() for name, step in self.steps.items()}
        sources = [asdict(source) for source in self.sources]
        splits = {name: asdict(split) for name, split in self.splits.items()}
        return {**vars(self), "steps": steps, "sources": sources, "splits": splits}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Ledger":
        """The ledger that ``to_json`` gave."""
        steps = {name: StepEntry.from_json(step) for name, step in data["steps"].items()}
        sources = [SourceEntry(**source) for source in data["sources"]]
        splits = {name: SplitEntry(**entry) for name, entry in data["splits"].items()}
        return cls(**{**data, "steps": steps, "sources": sources, "splits": splits})


def merged(entries: Iterable[dict[str, StepEntry]]) -> dict[str, StepEntry]:
    """The steps of several shares of the rows as one."""
    total: dict[str, StepEntry] = {}
    for entry in entries:
        for name, step in entry.items():
            total.setdefault(name, StepEntry()).add(step)
    return {name: total[name] for name in STEPS if name in total}
