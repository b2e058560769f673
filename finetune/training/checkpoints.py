"""Checkpoints that count only when they are whole.

A checkpoint is a folder of transformers' Trainer, ``checkpoint-<step>``, with ``complete.json`` in it: the sizes of its
files, written last and forced to the disk. A folder without it, or with other sizes, is the rest of a kill or of a full
disk; it is removed, and training goes on from the one before.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.home import disk_errors, write_atomically

__all__ = ["MARKER", "complete", "is_complete", "judged_steps", "keep_only", "last_complete", "step_of", "writing"]

MARKER = "complete.json"
_PREFIX = "checkpoint-"
# What torch's and safetensors' own writers say of a disk, which are no errors of the system for Python.
_WRITERS = re.compile(r"inline_container|PytorchStreamWriter|I/O error|IoError")
_PROBE_BYTES = 1 << 24


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the writers of a checkpoint say of a disk into one sentence.

    Raises:
        CinquainError: ``disk_full``, ``disk_permission`` or ``disk_failed``.
    """
    with disk_errors(folder):
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            if not _WRITERS.search(str(error)):
                raise
            probe = folder / "probe"
            try:
                probe.write_bytes(bytes(_PROBE_BYTES))  # the system says what the writers keep to themselves
            finally:
                probe.unlink(missing_ok=True)
            raise OSError(str(error)) from error


def complete(folder: Path) -> None:
    """Declare a checkpoint whole: its files are forced to the disk first, then the marker is written."""
    with disk_errors(folder):
        for path in _files(folder):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in _files(folder)}
    write_atomically(folder / MARKER, json.dumps({"schema_version": 1, "files": sizes}) + "\n")


def is_complete(folder: Path) -> bool:
    """Whether a checkpoint was declared whole and still has all of its files, at their sizes."""
    try:
        sizes = json.loads((folder / MARKER).read_bytes())["files"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def last_complete(run: Path) -> Path | None:
    """The newest whole checkpoint of a run; torn ones are removed."""
    found = None
    for folder in sorted(run.glob(f"{_PREFIX}*"), key=step_of):
        if is_complete(folder):
            found = folder
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def keep_only(run: Path, steps: set[int]) -> None:
    """Remove the checkpoints of other steps. The marker goes first: a kill in between leaves a torn one."""
    for folder in run.glob(f"{_PREFIX}*"):
        if step_of(folder) not in steps:
            (folder / MARKER).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


def judged_steps(folder: Path) -> set[int]:
    """Steps whose evaluations a checkpoint knows."""
    state = json.loads((folder / "trainer_state.json").read_bytes())
    return {int(entry["step"]) for entry in state["log_history"]}


def step_of(folder: Path) -> int:
    """The step of a checkpoint; -1 for a folder that is none."""
    number = folder.name.removeprefix(_PREFIX)
    return int(number) if number.isdecimal() else -1


def _files(folder: Path) -> list[Path]:
    # trainer_state.json is left out: it is written once more, whole, after the evaluation that follows.
    names = {MARKER, "trainer_state.json"}
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in names)
