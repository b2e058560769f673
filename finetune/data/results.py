"""The folder of a prepared data set: what lies there, and how a new result takes the place of an old one.

A result is first whole in the work folder, its ledger last. Then the old ledger goes, the files are moved, each by one
rename, and the ledger comes last again: a folder with a ledger holds a whole result. Killed in between, the next start
moves the rest.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from finetune.data.deciding import SPLITS
from finetune.data.ledger import SCHEMA_VERSION, Ledger
from pipelines.errors import InputError
from pipelines.home import disk_errors

__all__ = ["WORK", "finished", "publish", "whole_result"]

WORK = ".cinquain-work"
"""Folder for unfinished work, below the result's. It is removed in the end: no person's folder must be called so."""

_SPLIT_FILES = tuple(f"{name}.jsonl" for name in SPLITS)
_FILES = (*_SPLIT_FILES, "rejected.jsonl", "redactions.jsonl", "samples.json", "ledger.html")
_LEDGER = "ledger.json"


def finished(out: Path) -> Ledger | None:
    """The ledger of the result in a folder; None where there is none.

    Raises:
        InputError: ``data_ledger_format`` where its ledger cannot be read.
    """
    path = out / _LEDGER
    if not path.is_file():
        return None
    try:
        data: dict[str, Any] = json.loads(path.read_bytes())
        if data["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema_version {data['schema_version']}, not {SCHEMA_VERSION}")
        return Ledger.from_json(data)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError("data_ledger_format", path=str(path), problem=str(error)) from error


def whole_result(out: Path, wanted: str, *, overwrite: bool) -> Ledger | None:
    """See whether the wanted result lies in a folder, or may be written to it.

    Args:
        out: The folder.
        wanted: Identity of what is to be written.
        overwrite: Whether anything else that lies there may be replaced.

    Returns:
        The ledger of the result where it is there, whole; else None.

    Raises:
        InputError: ``data_other_result``, ``data_result_edited`` or ``data_foreign_files``.
    """
    try:
        return _required(out, wanted)
    except InputError:
        if overwrite:
            return None
        raise


def _required(out: Path, wanted: str) -> Ledger | None:
    ledger = finished(out)
    if ledger is None:
        if there := [name for name in _FILES if (out / name).exists()]:
            raise InputError("data_foreign_files", out=str(out), files=there)
        return None
    found = str(ledger.provenance.get("identity", ""))
    if found != wanted:
        raise InputError("data_other_result", out=str(out), found=found[:12], wanted=wanted[:12])
    for name, entry in ledger.splits.items():
        if entry.rows and _sha256(out / f"{name}.jsonl") != entry.sha256:
            raise InputError("data_result_edited", path=str(out / f"{name}.jsonl"))
    return ledger


def publish(staged: Path, out: Path) -> Ledger:
    """Move a whole result to where it belongs.

    Args:
        staged: Folder with the result; what an earlier run has moved is missing there.
        out: Where to.
    """
    ledger = finished(staged)
    assert ledger is not None
    kept = {f"{name}.jsonl" for name, entry in ledger.splits.items() if entry.rows}
    with disk_errors(out):
        (out / _LEDGER).unlink(missing_ok=True)
        for name in _FILES:
            if (staged / name).exists():
                (staged / name).replace(out / name)
            elif name in _SPLIT_FILES and name not in kept:
                (out / name).unlink(missing_ok=True)
        (staged / _LEDGER).replace(out / _LEDGER)
        shutil.rmtree(out / WORK, ignore_errors=True)
    return ledger


def _sha256(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
