"""What each Hub reference meant when it was first used here: its commit and its files, kept in ``$CINQUAIN_HOME/hub``.

A branch moves; a model that a person has tried should not. So the first use of ``org/name`` or ``org/name@branch``
writes down the commit, and every later one takes that commit, until ``cinquain models pull NAME --update`` asks for the
branch again. The list of files says whether a download is whole, without the network.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pipelines.errors import CinquainError
from pipelines.home import disk_errors, home, write_atomically
from pipelines.models.progress import Progress

__all__ = ["Pin", "forget", "locked", "pins_of", "today", "write_pin"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Pin:
    """One reference, resolved.

    Attributes:
        commit: 40 hexadecimal digits.
        files: Bytes of each file that is needed, by name; -1 where the Hub did not say.
        since: When it was resolved, ISO 8601.
        branch: The branch that was read where it is not the one that was asked for: the Hub's own conversion of
            pickled weights (``refs/pr/7``).
    """

    commit: str
    files: dict[str, int] = field(default_factory=dict)
    since: str = ""
    branch: str | None = None


def pins_of(hub_id: str) -> dict[str, Pin]:
    """What is known of a model: asked revision (``main``, a tag, a commit; with ``:file`` for a GGUF) → pin.

    Raises:
        CinquainError: ``hub_pins_damaged``; a pin that cannot be read is not replaced in silence.
    """
    path = _path(hub_id)
    try:
        data = json.loads(path.read_bytes())
        if data["schema_version"] != SCHEMA_VERSION:
            raise ValueError
        return {asked: Pin(**pin) for asked, pin in data["pins"].items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CinquainError("hub_pins_damaged", path=str(path), model=hub_id) from error


def write_pin(hub_id: str, asked: str, pin: Pin) -> None:
    """Remember a pin; the caller holds the lock."""
    pins = {**pins_of(hub_id), asked: pin}
    data = {
        "schema_version": SCHEMA_VERSION,
        "model": hub_id,
        "pins": {name: asdict(each) for name, each in pins.items()},
    }
    write_atomically(_path(hub_id), json.dumps(data, indent=2))


def forget(hub_id: str) -> None:
    """Drop all pins of a model; the caller holds the lock."""
    with disk_errors(_path(hub_id)):
        _path(hub_id).unlink(missing_ok=True)


@contextmanager
def locked(hub_id: str, progress: Progress) -> Iterator[None]:
    """One process at a time fetches, pins or removes a model. The system frees the lock of a process that dies."""
    from filelock import FileLock, Timeout

    path = _path(hub_id).with_suffix(".lock")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            progress.say("fetch_waiting", name=hub_id)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def today() -> str:
    """Now, in seconds of UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _path(hub_id: str) -> Path:
    # As the Hub's cache names its folders; an id has one slash and no other character that a file name lacks.
    return home() / "hub" / f"{hub_id.replace('/', '--')}.json"
