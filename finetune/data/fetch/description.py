"""How a public set is described: what it is for, and which packages carry it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from finetune.data.fetch.archives import Wheel

__all__ = ["Pin", "PublicSet"]


@dataclass(frozen=True)
class Pin:
    """A wheel on PyPI, down to its bytes.

    Attributes:
        requirement: ``name==version``.
        sha256: Hash of the wheel.
        size: Its bytes.
        language: What it translates into; empty for other packages.
    """

    requirement: str
    sha256: str
    size: int
    language: str = ""


@dataclass(frozen=True)
class PublicSet:
    """A set that ``cinquain data fetch`` rebuilds.

    Attributes:
        name: Its name.
        task: Task whose ``from_row`` reads the rows.
        licence: SPDX name.
        languages: BCP-47 tags of the texts.
        rows: How many rows, about.
        changes: What is done to the texts of the source; some licences ask that copies say so.
        read: Yields the rows out of the wheels, in an order of their own, and counts what it leaves out, by reason.
        pins: The wheels; none for what comes with Python.
        benchmark: Whether it is there to measure with, and must not be trained on.
        origin: For a set without wheels: name, version and hash of where it comes from.
    """

    name: str
    task: str
    licence: str
    languages: tuple[str, ...]
    rows: int
    changes: str
    read: Callable[[Sequence[Wheel], Counter[str]], Iterator[dict[str, Any]]]
    pins: tuple[Pin, ...] = ()
    benchmark: bool = False
    origin: Callable[[], dict[str, str]] | None = field(default=None)

    @property
    def use(self) -> Literal["benchmark", "training"]:
        """What it is for, as its card says."""
        return "benchmark" if self.benchmark else "training"

    @property
    def command(self) -> str:
        """The command that rebuilds it."""
        return f"cinquain data fetch {self.name}"
