"""The catalog: permissive models of the Hub by task, size and language, and which of them fits this machine.

The facts are in ``catalog.yaml``; this module reads them, knows the aliases, and ranks them for ``auto``.
"""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

__all__ = ["Entry", "Machine", "entries", "find", "fits", "machine", "memory_bytes", "ranked"]

ALL_TASKS = ("translation", "summarization", "dialogue", "code_generation", "creative_writing")
SCHEMA_VERSION = 1

_OPUS_CODE = r"[a-z]{2,3}(?:_[A-Za-z]+)*"

CPU_PARAMETERS = 2_500_000_000
"""Parameters that a token may read where a processor computes: at 2 bytes each, memory of 20 GB/s gives 4 tokens/s."""


@dataclass(frozen=True)
class Entry:
    """A model of the catalog.

    Attributes:
        alias: What it is called here.
        hub_id: ``org/name``.
        licence: SPDX name.
        languages: BCP-47 tags that its card names.
        parameters: How many numbers are stored.
        size_bytes: Bytes of the weights on disk.
        tasks: What it is for.
        revision: Pinned commit, or None where the first download decides.
        more: Whether its card counts further languages.
        context_length: Tokens, where the model has such a limit.
        active_parameters: Parameters that one token reads.
    """

    alias: str
    hub_id: str
    licence: str
    languages: tuple[str, ...]
    parameters: int
    size_bytes: int
    tasks: tuple[str, ...]
    revision: str | None
    more: bool
    context_length: int | None
    active_parameters: int

    def speaks(self, languages: Iterable[str]) -> bool:
        """Whether it may be asked for these languages (``pt-BR`` counts as ``pt``)."""
        return self.more or {tag.split("-")[0].lower() for tag in languages} <= set(self.languages)


@dataclass(frozen=True)
class Machine:
    """What a model may take here.

    Attributes:
        device: ``cpu``, ``cuda`` or ``mps``.
        free_bytes: Memory of that device that is free now.
        width: Bytes that each parameter takes there.
    """

    device: str
    free_bytes: int
    width: int


@cache
def _data() -> dict[str, Any]:
    import yaml

    data = yaml.safe_load(files("pipelines.models").joinpath("catalog.yaml").read_text(encoding="utf-8"))
    assert data["schema_version"] == SCHEMA_VERSION
    return dict(data)


@cache
def entries() -> dict[str, Entry]:
    """All models that have a name of their own, by alias; OPUS-MT pairs are found by ``find``."""
    return {alias: _entry(alias, given) for alias, given in _data()["models"].items()}


def find(name: str) -> Entry | None:
    """The model of an alias (``qwen3-0.6b``, ``opus-mt-en-fr``) or of a Hub id without revision."""
    if name in entries():
        return entries()[name]
    for entry in entries().values():
        if entry.hub_id == name:
            return entry
    if pair := re.fullmatch(rf"(?:Helsinki-NLP/)?opus-mt-(?P<source>{_OPUS_CODE})-(?P<target>{_OPUS_CODE})", name):
        opus, alias = _data()["opus"], name.removeprefix("Helsinki-NLP/")
        languages = [pair["source"], pair["target"]]
        return _entry(alias, {**opus, "id": f"Helsinki-NLP/{alias}", "languages": languages, "tasks": ["translation"]})
    return None


def ranked(task: str | None = None, languages: Iterable[str] = ()) -> list[Entry]:
    """What ``auto`` may take for a task, the best first; without a task, models that can do all of them."""
    known = task in ALL_TASKS  # a caller may have a task of its own
    order = [entries()[alias] for alias in _data()["auto"][task if known else "dialogue"]]
    wanted = set(languages)
    return [entry for entry in order if entry.speaks(wanted) and (known or entry.tasks == ALL_TASKS)]


@cache
def _cuda() -> bool:
    """Whether it is worth the seconds that importing torch takes to ask it for a GPU."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def machine() -> Machine:
    """This machine, as it is now."""
    import platform

    import psutil

    if _cuda():
        import torch

        if torch.cuda.is_available():
            free = max(torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count()))
            return Machine("cuda", free, 2)
    free = psutil.virtual_memory().available
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return Machine("mps", free, 2)
    # A processor without bfloat16 instructions holds float32 and, for single streams, a bfloat16 copy (device.py).
    return Machine("cpu", free, 6)


def memory_bytes(entry: Entry, width: int) -> int:
    """Memory it takes at so many bytes for each parameter, with a tenth for activations and keys and values, about."""
    return int(entry.parameters * width * 1.1) + 300_000_000


def fits(entry: Entry, here: Machine) -> bool:
    """Whether it has room on this machine, and answers in bearable time."""
    if here.device == "cpu" and entry.active_parameters > CPU_PARAMETERS:
        return False
    return memory_bytes(entry, here.width) <= here.free_bytes


def _entry(alias: str, given: dict[str, Any]) -> Entry:
    return Entry(
        alias=alias,
        hub_id=given["id"],
        licence=given["licence"],
        languages=tuple(given["languages"]),
        parameters=given["parameters"],
        size_bytes=given["bytes"],
        tasks=tuple(given.get("tasks", ALL_TASKS)),
        revision=given.get("revision"),
        more=given.get("more", False),
        context_length=given.get("context"),
        active_parameters=given.get("active", given["parameters"]),
    )
