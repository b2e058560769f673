"""Where the weights of a model go: one device, several GPUs, or GPUs and main memory; or why they go nowhere.

``plan`` decides from numbers alone; accelerate then assigns the layers, and dispatches each pass from device to device.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines.engines.device import QUANTIZATIONS, DeviceChoice
from pipelines.engines.free_memory import free_memory, give_back
from pipelines.errors import CinquainError, InputError
from pipelines.generation import Note
from pipelines.models.memory import MemoryEstimate, estimate, gigabytes
from pipelines.models.shape import ModelShape, shape_of
from pipelines.models.source import ModelSource

__all__ = ["Placement", "check_call", "offload_notes", "place", "plan"]

_REPLY_TOKENS = 256
"""Tokens of a reply that a call must have room for: few replies are as long as they might become."""


@dataclass(frozen=True)
class Placement:
    """Where a model goes.

    Attributes:
        devices: What holds its weights, the one that token ids go to first.
        max_memory: Bytes of weights that each may hold, where there are several; keys as accelerate wants them.
        shape: What the model is made of; None where that cannot be told before it is loaded.
        estimate: What it needs with a short request; None likewise.
        batch_tokens: Tokens that the rows of a batch may hold in the memory that is left; None where that is unknown.
        notes: What a person should know of it.
    """

    devices: tuple[str, ...]
    max_memory: dict[int | str, int] | None = None
    shape: ModelShape | None = None
    estimate: MemoryEstimate | None = None
    batch_tokens: int | None = None
    notes: tuple[Note, ...] = ()

    def arguments(self) -> dict[str, Any]:
        """Arguments of ``from_pretrained``. On the processor none: torch then maps the file instead of copying it."""
        if self.max_memory is not None:
            return {"device_map": "auto", "max_memory": self.max_memory}
        return {} if self.devices == ("cpu",) else {"device_map": {"": self.devices[0]}}


def place(source: ModelSource, choice: DeviceChoice) -> Placement:
    """Where a model goes on this machine as it is now; reads its configuration and no weights.

    Raises:
        InputError: ``memory_refused`` or ``memory_refused_try`` where it does not fit.
    """
    try:
        shape = shape_of(source)
    except Exception as error:
        # A configuration that cannot be read fails again, with its reason, when the model is loaded; one that is only
        # too unusual to be counted must not be refused for that.
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        device = "cuda:0" if choice.device == "cuda" else choice.device
        return Placement((device,), notes=(Note("memory_unknown", {"model": source.reference, "reason": reason}),))
    if choice.device == "cuda":
        import torch

        devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    else:
        devices = [choice.device]
    free: dict[str, int] = {}
    # One after another: asking a GPU for its memory costs some of it.
    for device in devices:
        free[device] = free_memory(device)
        if estimate(shape, choice).device <= free[device]:
            break
    else:
        free.setdefault("cpu", free_memory("cpu"))
    return plan(shape, choice, free, source.reference)


def plan(shape: ModelShape, choice: DeviceChoice, free: Mapping[str, int], reference: str) -> Placement:
    """Where a model goes, given what is free.

    Args:
        shape: What the model is made of.
        choice: Device, number format and quantization.
        free: Free bytes of each device that may be used, in order of preference: ``cuda:0``…, ``mps``, ``cpu``.
        reference: Model reference, for the error.

    Raises:
        InputError: ``memory_refused_try`` with the nearest choice that fits, ``memory_refused`` where none does.
    """
    need = estimate(shape, choice)
    here = Placement((choice.device,), shape=shape, estimate=need)
    asked = {device: size for device, size in free.items() if device.partition(":")[0] == choice.kind}
    for device, size in asked.items():
        if need.held(choice.kind) <= size:
            return replace(here, devices=(device,), batch_tokens=_batch_tokens(need, size))
    if choice.device == "cuda":
        # Each GPU needs its own libraries and room to work, and may be left with a part of a layer's size empty.
        layer = need.weights // max(1, len(shape.windows))
        aside = need.device - need.weights + layer
        budgets: dict[int | str, int] = {
            int(device.partition(":")[2]): size - aside for device, size in asked.items() if size > aside
        }
        devices = tuple(f"cuda:{index}" for index in budgets)
        if budgets and sum(budgets.values()) >= need.weights:
            return replace(here, devices=devices, max_memory={**budgets, "cpu": free.get("cpu", 0)})
        # bitsandbytes computes on GPUs only, so that none of its layers can wait in main memory.
        if budgets and not choice.quantization and sum(budgets.values()) + free.get("cpu", 0) >= need.weights:
            return replace(here, devices=(*devices, "cpu"), max_memory={**budgets, "cpu": free["cpu"]})
    found = {
        "model": reference,
        "device": choice.device,
        "dtype": choice.label,
        "needed": gigabytes(need.held(choice.kind)),
        "weights": gigabytes(need.weights + need.copies),
        "free": ", ".join(f"{device} {gigabytes(size)}" for device, size in asked.items()),
    }
    if fitting := next(_alternatives(shape, choice, free), None):
        raise InputError("memory_refused_try", **found, fitting=fitting)
    smallest, bits = ("quantization=4bit", 4.8) if choice.kind == "cuda" else ("dtype=bfloat16", 16)
    most = 0.85 * max(asked.values(), default=0) * 8 / bits  # the rest is for keys, values and libraries
    raise InputError("memory_refused", **found, parameters=f"{most / 1e9:.1f}", smallest=smallest)


def offload_notes(model: Any) -> tuple[Note, ...]:
    """What a person should know of a model whose layers are not all on GPUs, or not on one."""
    layers = getattr(model, "hf_device_map", None) or {}
    places = [f"cuda:{place}" if isinstance(place, int) else str(place) for place in layers.values()]
    devices = sorted(set(places))
    slow = [place for place in places if place in ("cpu", "disk")]
    if slow and devices != ["cpu"]:
        return (Note("memory_offloaded", {"count": len(slow), "total": len(places)}),)
    return (Note("memory_spread", {"devices": devices}),) if len(devices) > 1 else ()


def check_call(
    placement: Placement,
    choice: DeviceChoice,
    prompt: int,
    limit: int,
    rows: int = 1,
    give_up: Callable[[], None] | None = None,
) -> None:
    """Refuse a call whose prompt cannot be held, before the system would end the whole process for it.

    Args:
        placement: Where the model is.
        choice: Device and number format.
        prompt: Tokens of the longest prompt.
        limit: Most tokens of its reply.
        rows: Texts at once.
        give_up: Forgets kept states; called before a call is refused.

    Raises:
        CinquainError: ``memory_call``.
    """
    tokens = prompt + min(limit, _REPLY_TOKENS)
    if placement.shape is None or len(placement.devices) > 1:
        return
    device = placement.devices[0]
    need = estimate(placement.shape, choice, tokens=tokens, rows=rows)
    needed = need.cache + need.workspace
    if needed > free_memory(device) and give_up:
        give_up()
        give_back(device)
    if needed > (free := free_memory(device)):
        raise CinquainError(
            "memory_call", tokens=tokens, rows=rows, needed=gigabytes(needed), device=device, free=gigabytes(free)
        )


def _batch_tokens(need: MemoryEstimate, free: int) -> int:
    """Tokens whose keys and values fit beside the model. A smaller batch is slower, and nothing else."""
    left = free - (need.total - need.cache)
    return max(need.tokens, left * need.tokens // max(1, need.cache))


def _alternatives(shape: ModelShape, choice: DeviceChoice, free: Mapping[str, int]) -> Iterator[str]:
    """Other choices that fit, the nearest first, by the options of the engine."""
    half = "float16" if choice.kind == "mps" else "bfloat16"
    changes: list[tuple[str, DeviceChoice]] = []
    if choice.one_row:
        changes.append(("dtype=float32", replace(choice, one_row=False)))
    if choice.quantization is None and (choice.dtype == "float32" or choice.one_row):
        changes.append((f"dtype={half}", replace(choice, dtype=half, one_row=False)))
    if choice.kind == "cuda" and not shape.gguf:
        for quantization in QUANTIZATIONS:
            changes.append((f"quantization={quantization}", replace(choice, quantization=quantization)))
    if choice.kind != "cpu" and "cpu" in free:
        on_cpu = replace(choice, device="cpu", quantization=None, dtype="bfloat16", one_row=False)
        changes.append(("device=cpu, dtype=bfloat16", on_cpu))
    for words, changed in changes:
        needed = estimate(shape, changed).held(changed.kind)
        most = max((size for device, size in free.items() if device.partition(":")[0] == changed.kind), default=0)
        if shape.stored is None and needed <= most:
            yield f"{words} ({gigabytes(needed)})"
