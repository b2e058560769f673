"""What is asked of ``cinquain publish``, and the place where it is prepared."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apps.web.app import PAGES
from pipelines.errors import InputError, nearest
from pipelines.home import exclusive, home
from pipelines.models.progress import Progress

__all__ = ["HARDWARE", "Order", "named_values"]

HARDWARE: dict[str, float | None] = {
    "cpu-basic": 16, "cpu-upgrade": 32, "zero-a10g": 48, "t4-small": 15, "t4-medium": 30, "l4x1": 30, "l40sx1": 62,
    "a10g-small": 15, "a10g-large": 46, "a100-large": 142,
}  # fmt: skip
"""Gigabytes of memory by flavour (https://huggingface.co/docs/hub/spaces-gpus, 2026-11); of ZeroGPU the GPU's."""

_ENDPOINTS = {
    "translation": "translate", "summarization": "summarize", "dialogue": "chat", "code_generation": "write_code",
    "creative_writing": "write",
}  # fmt: skip


@dataclass(frozen=True)
class Order:
    """A Space to publish.

    Attributes:
        space: Name of a folder in ``spaces/``.
        to: ``user/name``.
        model: Model reference.
        adapter: Folder or name of an adapter.
        language: Of the page.
        hardware: Flavour of the Hub.
        private: Of repositories that are made.
        secrets: Values by name.
        variables: Values by name.
        engine: Options of the engine.
        scripted: Whether the Space is tried with the scripted engine, because its model is too large for this machine.
        progress: Shows the steps.
    """

    space: str
    to: str
    model: str
    adapter: str | None = None
    language: str = "en"
    hardware: str = "cpu-basic"
    private: bool = True
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    variables: dict[str, str] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)
    scripted: bool = False
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))

    @property
    def endpoints(self) -> tuple[str, ...]:
        """What the Space offers: one page, or all."""
        return (_ENDPOINTS[self.space],) if self.space in _ENDPOINTS else PAGES

    @property
    def place(self) -> Path:
        """The folder where it is prepared."""
        return home() / "publish" / self.to.replace("/", "--")

    def check(self) -> None:
        """See that it makes sense, before anything is done.

        Raises:
            InputError: ``push_name``, ``publish_hardware_unknown``.
        """
        from finetune.pushing import check_name

        check_name(self.to)
        if self.hardware not in HARDWARE:
            raise InputError("publish_hardware_unknown", found=self.hardware, nearest=nearest(self.hardware, HARDWARE))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Only one process prepares and sends a Space.

        Raises:
            InputError: ``publish_busy``.
        """
        with exclusive(self.place / ".lock", InputError("publish_busy", to=self.to)):
            yield


def named_values(names: list[str], option: str) -> dict[str, str]:
    """Values of environment variables by name: a secret in a command line could be read by everybody on the machine.

    Raises:
        InputError: ``publish_value``: it looks like a value; ``publish_unset``: there is no such variable.
    """
    found = {}
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise InputError("publish_value", option=option)
        if name not in os.environ:
            raise InputError("publish_unset", name=name, option=option)
        found[name] = os.environ[name]
    return found
