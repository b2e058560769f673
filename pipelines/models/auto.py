"""``auto``: the best model of the catalog that this machine can hold, and the reason why it was taken."""

from collections.abc import Iterable
from dataclasses import replace

from pipelines.errors import CinquainError, InputError
from pipelines.generation import Note
from pipelines.home import megabytes, offline_variable
from pipelines.models.catalog import Entry, Machine, fits, machine, memory_bytes, ranked
from pipelines.models.embedded import SMOLLM2, ensure
from pipelines.models.hub.resolving import HubReference, found_here, resolve_hub
from pipelines.models.progress import Progress
from pipelines.models.source import ModelSource

__all__ = ["resolve_auto"]


def resolve_auto(
    task: str | None, languages: Iterable[str], progress: Progress, here: Machine | None = None
) -> ModelSource:
    """The best model that fits: from the cache or the Hub, from the cache alone when offline, else the embedded one.

    Args:
        task: What it is for; None asks for one that can do all tasks.
        languages: BCP-47 tags that it must know.
        progress: Says what was chosen, and why, before anything is fetched.
        here: The machine; looked at where None.
    """
    here = here or machine()
    names = list(languages)
    candidates = [entry for entry in ranked(task, names) if fits(entry, here)]
    reachable = offline_variable() is None
    for entry in candidates:
        reference = HubReference(entry.alias, entry.hub_id, entry.revision or "main")
        ready = found_here(reference)
        if ready is None and not reachable:
            continue
        chosen = Note("auto_cached" if ready else "auto_fetched", _reasons(entry, here))
        progress.tell(chosen)
        if ready:
            return replace(ready, chosen=chosen)
        try:
            found = resolve_hub(reference, [SMOLLM2.name], progress=progress)
        except CinquainError as error:
            # A refusal is of this model; a Hub that does not answer will not answer for the next one either.
            reachable = isinstance(error, InputError) or error.code in {"hub_disk_space", "hub_disk_full"}
            progress.tell(error)
            continue
        return replace(found, chosen=chosen)
    chosen = Note(
        "auto_embedded", {"model": SMOLLM2.name, "free": megabytes(here.free_bytes), "device": here.choice.device}
    )
    progress.tell(chosen)
    folder = ensure(SMOLLM2, progress=progress)
    return ModelSource(SMOLLM2.name, "folder", folder, sha256=SMOLLM2.sha256, chosen=chosen)


def _reasons(entry: Entry, here: Machine) -> dict[str, str]:
    return {
        "model": entry.alias,
        "licence": entry.licence,
        "device": here.choice.device,
        "needed": megabytes(memory_bytes(entry, here.choice)),
        "free": megabytes(here.free_bytes),
        "size": megabytes(entry.size_bytes),
    }
