"""The catalog: permissive models of the Hub by task, size and language, and which of them fits this machine.

The facts are in ``catalog.yaml``; this module reads them, knows the aliases, and ranks them for ``auto``.
"""

import platform
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import InputError
from pipelines.models.shape import ModelShape

if TYPE_CHECKING:
    from pipelines.engines.device import DeviceChoice

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
        shape: What it is made of, for estimates of memory.
        encoder_decoder: Whether it has an encoder and a decoder.
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
    shape: ModelShape
    encoder_decoder: bool

    def speaks(self, languages: Iterable[str]) -> bool:
        """Whether it may be asked for these languages (``pt-BR`` counts as ``pt``)."""
        return self.more or {tag.split("-")[0].lower() for tag in languages} <= set(self.languages)


@dataclass(frozen=True)
class Machine:
    """What a model would be loaded with here.

    Attributes:
        choice: Device and number format.
        free: Bytes that are free now on each device of that kind, as ``placement.plan`` reads them.
    """

    choice: "DeviceChoice"
    free: Mapping[str, int]

    @property
    def free_bytes(self) -> int:
        """What is free on all of them: a model too big for one GPU is spread."""
        return sum(self.free.values())


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
    """Whether it is worth asking torch for a GPU, which takes some of the GPU's memory."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def machine() -> Machine:
    """This machine, as it is now: what a model gets that is loaded without options."""
    from pipelines.engines.device import choose_device
    from pipelines.engines.free_memory import free_memory

    choice = choose_device("auto" if _cuda() or platform.system() == "Darwin" else "cpu")
    devices = [choice.device]
    if choice.kind == "cuda":
        import torch

        devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return Machine(choice, {device: free_memory(device) for device in devices})


def memory_bytes(entry: Entry, choice: "DeviceChoice") -> int:
    """Memory that it takes where it runs, by the estimate that decides whether it is loaded."""
    from pipelines.models.memory import estimate

    return estimate(entry.shape, _choice(entry, choice)).held(choice.kind)


def fits(entry: Entry, here: Machine) -> bool:
    """Whether loading would take it on this machine, nothing of it in main memory beside a GPU, in bearable time."""
    from pipelines.engines.placement import plan

    if here.choice.kind == "cpu" and entry.active_parameters > CPU_PARAMETERS:
        return False
    try:
        plan(entry.shape, _choice(entry, here.choice), here.free, entry.alias)
    except InputError:
        return False
    return True


def _choice(entry: Entry, choice: "DeviceChoice") -> "DeviceChoice":
    """How the engine of such a model computes: the one for encoder–decoders makes no one-row copies."""
    return replace(choice, one_row=False) if entry.encoder_decoder else choice


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
        shape=_shape(given.get("loaded", given["parameters"]), **given["shape"]),
        encoder_decoder="decoder" in given["shape"],
    )


def _shape(
    parameters: int,
    hidden: int,
    inner: int,
    heads: int,
    head: int,
    vocabulary: int,
    layers: int = 0,
    decoder: int = 0,
    groups: int = 0,
    tied: bool = False,
) -> ModelShape:
    """What ``shape_of`` would count in the model's config, but for norms and biases."""
    groups, embedding = groups or heads, vocabulary * hidden
    linear = parameters - embedding * (1 if tied else 2)
    return ModelShape(
        parameters=parameters,
        linear=linear,
        linear_rows=linear // hidden,
        one_row=linear + embedding,
        largest=embedding,
        hidden=hidden,
        inner=inner,
        heads=heads,
        groups=groups,
        head=head,
        state=2 * groups * head,
        windows=(None,) * (layers + 2 * decoder),  # a decoder keeps its own states, and those of the text that it reads
        vocabulary=vocabulary,
    )
