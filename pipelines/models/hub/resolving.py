"""Models of the Hub: ``org/name[@revision][:file.gguf]``, pinned at first use, fetched whole or not at all.

What is pinned and whole loads without a network call. Everything else asks the Hub once, refuses what is no model or
not safe before any weight is fetched, and then goes through the same checks as a folder of the user's.
"""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import CinquainError, InputError
from pipelines.home import megabytes, offline_variable, require_space
from pipelines.models.conversion import check_gguf
from pipelines.models.folders import check_config, check_folder, weight_files
from pipelines.models.hub import files as hub_files
from pipelines.models.hub.cache import cache_folder, drop, name_commit, snapshot_folder, sweep
from pipelines.models.hub.errors import close_names, explain, models_here
from pipelines.models.hub.pins import Pin, locked, pins_of, today, write_pin
from pipelines.models.progress import Progress
from pipelines.models.source import ModelSource

__all__ = ["HubReference", "found_here", "resolve_hub", "whole_here"]

# The rule of huggingface_hub.utils.validate_repo_id, which importing that package for would cost 0.3 s.
_REFERENCE = re.compile(
    r"(?P<id>[\w][\w.-]{0,95}/[\w][\w.-]{0,95})(?:@(?P<revision>[\w][\w./-]*))?(?::(?P<file>[\w][\w./ +-]*\.gguf))?",
    re.ASCII | re.IGNORECASE,
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubReference:
    """A reference to the Hub, taken apart.

    Attributes:
        given: As it was written, or the alias that stands for it.
        hub_id: ``org/name``.
        revision: Branch, tag or commit.
        file: Path of one GGUF, or None for a model in safetensors.
    """

    given: str
    hub_id: str
    revision: str = "main"
    file: str | None = None

    @classmethod
    def parse(cls, text: str, given: str | None = None, pinned: str | None = None) -> "HubReference | None":
        """A reference from its text, or None for what is none.

        Args:
            text: ``org/name[@revision][:file.gguf]``.
            given: What a person wrote instead.
            pinned: The catalog's commit, for a text without a revision.
        """
        found = _REFERENCE.fullmatch(text)
        if found is None or ".." in text or "--" in found["id"]:  # the Hub knows no such names
            return None
        return cls(given or text, found["id"], found["revision"] or pinned or "main", found["file"])

    @property
    def asked(self) -> str:
        """Under what it is pinned."""
        return f"{self.revision}:{self.file}" if self.file else self.revision


def whole_here(reference: HubReference) -> ModelSource | None:
    """The model if its pin says that every file is here: no network, no lock, no library."""
    pin = pins_of(reference.hub_id).get(reference.asked)
    return _source(reference, pin) if pin and not _missing(reference, pin) else None


def found_here(reference: HubReference) -> ModelSource | None:
    """The model if it is on this disk as far as can be told without the network, whoever fetched it."""
    if ready := whole_here(reference):
        return ready
    commit = None if reference.asked in pins_of(reference.hub_id) else _local_commit(reference)
    return _source(reference, Pin(commit)) if commit else None


def resolve_hub(reference: HubReference, known: list[str], *, progress: Progress, update: bool = False) -> ModelSource:
    """The model on this disk, fetched where it is not.

    Args:
        reference: What is wanted.
        known: Names of other models, for suggestions.
        progress: Shows the bar.
        update: Ask for the branch again, whatever was pinned.

    Raises:
        InputError: There is no such model for this account, or it is not a whole and safe model.
        CinquainError: It cannot be had now: offline, no answer, no space.
    """
    if not update and (ready := whole_here(reference)):
        return ready
    if variable := offline_variable():
        return _offline(reference, variable)
    with locked(reference.hub_id, progress):
        # Another process may have fetched it while this one waited.
        if not update and (ready := whole_here(reference)):
            return ready
        try:
            return _online(reference, progress, update)
        except Exception as error:
            problem = explain(error, reference.hub_id, reference.revision, known)
            # A Hub that does not answer is no reason to refuse what another program has fetched as a whole.
            fresh = not update and reference.asked not in pins_of(reference.hub_id)
            if fresh and not isinstance(problem, InputError) and (commit := _local_commit(reference)):
                progress.say("hub_using_cached", model=reference.given, commit=commit[:12])
                return _source(reference, Pin(commit))
            raise problem from error


def _online(reference: HubReference, progress: Progress, update: bool) -> ModelSource:
    from huggingface_hub.errors import RevisionNotFoundError

    pin = None if update else pins_of(reference.hub_id).get(reference.asked)
    revision = pin.commit if pin else (None if update else _local_commit(reference)) or reference.revision
    branch, since = (pin.branch, pin.since) if pin else (None, today())
    try:
        listing = hub_files.look_up(reference.hub_id, revision)
    except RevisionNotFoundError as error:
        if revision == reference.revision:
            raise
        if pin:
            raise InputError("hub_pin_gone", model=reference.given, commit=revision[:12]) from error
        listing = hub_files.look_up(reference.hub_id, reference.revision)  # another program's commit is gone
    cache = cache_folder()
    if gguf := hub_files.choose_gguf(reference.hub_id, listing, reference.file):
        names = [gguf]
    else:
        try:
            small = hub_files.model_files(reference.hub_id, listing)
        except InputError as error:
            # Who named a commit gets that commit; else weights in pickle are taken in the Hub's own conversion.
            named = _COMMIT.fullmatch(reference.revision)
            if error.code != "hub_pickle" or named or not (offer := hub_files.converted(reference.hub_id)):
                raise
            branch, listing = offer
            progress.say("hub_converted", model=reference.hub_id, branch=branch)
            small = hub_files.model_files(reference.hub_id, listing)
        _check_config(reference, listing, cache)
        folder = hub_files.fetch(reference.hub_id, listing.commit, small, cache, lambda done: None)
        names = [*small, *weight_files(folder)]
        if absent := [name for name in names if name not in listing.files]:
            raise InputError("hub_missing_files", model=reference.hub_id, files=absent[:4])
    files = {name: listing.files[name] for name in names}
    pin = Pin(listing.commit, files, since, branch)
    # Before the weights: a run that is killed goes on at this commit, even if the branch has moved meanwhile.
    write_pin(reference.hub_id, reference.asked, pin)
    if not _COMMIT.fullmatch(reference.revision):
        name_commit(reference.hub_id, reference.revision, pin.commit)
    _fetch_all(reference, pin, cache, progress)
    return _checked(reference, pin)


def _check_config(reference: HubReference, listing: hub_files.Listing, cache: Path) -> None:
    """Refuse an architecture that cannot run before anything else is fetched."""
    folder = hub_files.fetch(reference.hub_id, listing.commit, ["config.json"], cache, lambda done: None)
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except ValueError as error:
        raise InputError("hub_bad_config", model=reference.hub_id, problem=str(error)) from error
    check_config(config, reference.given)


def _fetch_all(reference: HubReference, pin: Pin, cache: Path, progress: Progress) -> None:
    missing = _missing(reference, pin)
    if not missing:
        return
    size = sum(max(0, pin.files[name]) for name in missing)
    try:
        require_space(cache, size)
    except CinquainError as error:
        raise CinquainError("hub_disk_space", model=reference.hub_id, **error.parameters) from error
    sweep(reference.hub_id)
    for name in missing:
        drop(snapshot_folder(reference.hub_id, pin.commit) / name)
    total = sum(max(0, each) for each in pin.files.values())
    with progress.step("hub_downloading", total, model=reference.given, size=megabytes(size)) as show:
        hub_files.fetch(reference.hub_id, pin.commit, list(pin.files), cache, show)
    progress.say("hub_ready", model=reference.given, commit=pin.commit[:12])


def _offline(reference: HubReference, variable: str) -> ModelSource:
    """What is here without asking: pinned but not whole, fetched by another program, or nothing."""
    pin = pins_of(reference.hub_id).get(reference.asked)
    # With nothing of it here (another HF_HOME, an emptied cache) it is as good as never fetched.
    if pin and len(missing := _missing(reference, pin)) < len(pin.files):
        raise CinquainError(
            "hub_incomplete_offline", model=reference.given, files=missing[:4], count=len(missing), variable=variable
        )
    found = _cached(reference)
    if found is None:
        nearest = close_names(reference.given, models_here())
        raise CinquainError("model_hub_offline", reference=reference.given, variable=variable, nearest=nearest)
    if reference.file:
        check_gguf(found / reference.file)
        return _source(reference, Pin(found.name, {reference.file: 0}))
    try:
        check_folder(found, reference.given)
    except InputError as error:
        if error.code != "model_missing_files":
            raise
        files = error.parameters["files"]
        raise CinquainError(
            "hub_incomplete_offline", model=reference.given, files=files, count=len(files), variable=variable
        ) from error
    return _source(reference, Pin(found.name))


def _cached(reference: HubReference) -> Path | None:
    """The snapshot of an asked revision in the Hub's cache, whoever fetched it."""
    from huggingface_hub import try_to_load_from_cache

    name = reference.file or "config.json"
    path = try_to_load_from_cache(reference.hub_id, name, cache_folder(), revision=reference.revision)
    if not isinstance(path, str):
        return None
    return Path(path).parents[len(Path(name).parts) - 1]


def _local_commit(reference: HubReference) -> str | None:
    """The commit of a whole model that another program has fetched: better than gigabytes of a newer one."""
    found = None if reference.file else _cached(reference)
    if found is None:
        return None
    with suppress(InputError, OSError):
        check_folder(found, reference.given)
        return found.name
    return None


def _missing(reference: HubReference, pin: Pin) -> list[str]:
    """Files of a pin that are not here in their full length."""
    folder, missing = snapshot_folder(reference.hub_id, pin.commit), []
    for name, size in pin.files.items():
        try:
            whole = (folder / name).stat().st_size == size or size < 0
        except OSError:
            whole = False
        if not whole:
            missing.append(name)
    return missing


def _checked(reference: HubReference, pin: Pin) -> ModelSource:
    source = _source(reference, pin)
    assert source.path is not None
    if source.kind == "gguf":
        check_gguf(source.path)
    else:
        check_folder(source.path, reference.given)
    return source


def _source(reference: HubReference, pin: Pin) -> ModelSource:
    folder = snapshot_folder(reference.hub_id, pin.commit)
    if gguf := next((name for name in pin.files if name.lower().endswith(".gguf")), None):
        return ModelSource(reference.given, "gguf", folder / gguf, reference.hub_id, pin.commit)
    return ModelSource(reference.given, "folder", folder, reference.hub_id, pin.commit)
