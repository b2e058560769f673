"""Everything that can be proven of a Space before it is sent."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from apps.publish.asking import Reply
from apps.publish.card import check_card
from apps.publish.order import HARDWARE, Order
from apps.publish.requirements import gradio_version, resolve
from apps.publish.scan import refuse_private
from apps.publish.staging import Staged, stage
from apps.publish.trial import Trial, environment, try_space
from apps.publish.weights import Weights, find_weights
from pipelines.errors import InputError
from pipelines.generation import Note
from pipelines.home import megabytes, write_atomically

__all__ = ["Verified", "stage_for", "verify"]

SCHEMA_VERSION = 1
_PROOF = "verified.json"


@dataclass(frozen=True)
class Verified:
    """A Space that holds what it promises, as far as that can be seen here.

    Attributes:
        staged: Its files.
        weights: What it serves.
        packages: How many packages its build resolves to.
        trial: What came of running it.
        notes: What was found, and what this cannot show.
    """

    staged: Staged
    weights: Weights
    packages: int
    trial: Trial
    notes: tuple[Note, ...]


def verify(order: Order, *, sending: bool = False) -> Verified:
    """Stage a Space, check it, run it, ask it. Nothing is sent; only the package index is asked.

    A Space that was tried and has not changed since is not tried again: an interrupted publish goes on.

    Args:
        order: The order.
        sending: Whether it will be sent: then the Space must be able to read its weights.

    Raises:
        InputError: ``publish_private_weights``; a wrong card, a key or a path in a file, an unknown model, adapter or
            hardware.
        CinquainError: It does not resolve, install, start or answer.
    """
    order.check()
    weights = find_weights(order.model, order.adapter, order.to, order.progress, fetch=not order.scripted)
    if sending and weights.upload and order.private and "HF_TOKEN" not in order.secrets:
        raise InputError("publish_private_weights", to=order.to)
    staged = stage_for(order, weights, "main")
    check_card(staged.folder / "README.md", gradio_version())
    refuse_private(staged.folder, order.secrets)
    order.progress.say("publish_staged", files=len(staged.files), size=megabytes(staged.bytes))
    order.progress.say("publish_resolving", python="3.12")
    packages = len(resolve(staged.folder, order.hardware))
    key = _key(staged, weights, order.scripted)
    if (trial := _tried(order.place / _PROOF, key)) is None:
        order.progress.say("publish_installing")
        python = environment(staged)
        order.progress.say("publish_starting")
        model, adapter = ("scripted", None) if order.scripted else (weights.model, weights.adapter)
        trial = try_space(staged, order.endpoints, model=model, adapter=adapter, python=python)
        proof = {"schema_version": SCHEMA_VERSION, "key": key, "trial": asdict(trial)}
        write_atomically(order.place / _PROOF, json.dumps(proof, ensure_ascii=False, indent=1), private=True)
    return Verified(staged, weights, packages, trial, tuple(_notes(order, weights, trial)))


def stage_for(order: Order, weights: Weights, commit: str) -> Staged:
    """Stage an order's Space.

    Args:
        order: The order.
        weights: What it serves.
        commit: That of the weights which go to the Hub with it.
    """
    references = weights.references(commit)
    assert references["model"] is not None
    return stage(
        order.space, order.place / "space", model=references["model"], adapter=references["adapter"],
        language=order.language, hardware=order.hardware, engine=order.engine,
    )  # fmt: skip


def _key(staged: Staged, weights: Weights, scripted: bool) -> str:
    """One hash of what a trial depends on."""
    digest = hashlib.sha256(f"{weights.model}\0{weights.adapter}\0{scripted}\n".encode())
    for name, content in weights.upload.files.items() if weights.upload else ():
        if isinstance(content, Path):  # of gigabytes: their size and time tell whether they were written anew
            digest.update(f"{name}\0{content.stat().st_size}\0{content.stat().st_mtime_ns}\n".encode())
    for name in staged.files:
        digest.update(f"{name}\0".encode() + hashlib.sha256((staged.folder / name).read_bytes()).digest())
    return digest.hexdigest()


def _tried(path: Path, key: str) -> Trial | None:
    """The trial of the very same Space, if there was one."""
    try:
        proof = json.loads(path.read_bytes())
        if (proof["schema_version"], proof["key"]) != (SCHEMA_VERSION, key):
            return None
        replies = tuple(Reply(**reply) for reply in proof["trial"].pop("replies"))
        return Trial(**proof["trial"], replies=replies)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _notes(order: Order, weights: Weights, trial: Trial) -> list[Note]:
    """Size and memory against the hardware, and what was not executed."""
    notes = []
    memory = HARDWARE[order.hardware]
    needed = max(weights.bytes or 0, trial.memory or 0)
    if memory and needed:
        code = "publish_fits" if needed < memory * 1e9 else "publish_large"
        notes.append(Note(code, {"needed": megabytes(needed), "hardware": order.hardware, "memory": f"{memory:g} GB"}))
    if weights.upload:
        size = megabytes(weights.upload.bytes)
        notes.append(Note("publish_weights", {"repository": weights.upload.repository, "size": size}))
    if order.scripted:
        notes.append(Note("publish_unseen_model", {"model": order.adapter or order.model}))
    if order.hardware.startswith("zero"):
        notes.append(Note("publish_unseen_zero", {"python": trial.python}))
    else:
        notes.append(Note("publish_unseen", {"python": trial.python}))
    return notes
