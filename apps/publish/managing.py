"""A Space that is published: how it is, the revision before, and its end."""

from dataclasses import dataclass
from typing import Any

from apps.publish.hub import page_of, persist, sent_with, space_files, wait_for_build
from apps.publish.publishing import commit
from apps.web.space import SETTINGS
from finetune.pushing import account, check_name
from pipelines.errors import InputError
from pipelines.models.hub.errors import endpoint
from pipelines.models.progress import Progress

__all__ = ["Status", "delete", "roll_back", "status"]

_BACK = "Roll back to "


@dataclass(frozen=True)
class Status:
    """How a Space is.

    Attributes:
        address: Its page.
        commit: Its newest commit.
        title: The commit's message.
        stage: What the Hub says of it, such as ``RUNNING``.
        hardware: What it runs on.
        private: Whether only its owner sees it.
        repositories: What ``delete`` would remove: the Space, and the weights that were sent with it.
    """

    address: str
    commit: str
    title: str
    stage: str
    hardware: str
    private: bool
    repositories: tuple[str, ...]


def status(to: str) -> Status:
    """Ask the Hub how a Space is.

    Raises:
        InputError: ``publish_unknown``: there is none; ``publish_foreign``: it is not one of Cinquain's.
        CinquainError: The Hub cannot be reached.
    """
    api = _of_ours(to)
    info = persist(lambda: api.space_info(to), to)
    runtime = persist(lambda: api.get_space_runtime(to), to)
    newest = _history(api, to)[0]
    stage = getattr(runtime.stage, "value", runtime.stage)
    hardware = runtime.hardware or runtime.requested_hardware or "–"
    return Status(
        page_of(to), newest.commit_id, newest.title, str(stage), str(hardware), bool(info.private),
        (f"spaces/{to}", *_weights(api, to)),
    )  # fmt: skip


def roll_back(to: str, progress: Progress) -> str:
    """Give a Space the files of the revision before, as a new commit; done again, of the one before that.

    Returns:
        The new commit, once it runs.

    Raises:
        InputError: As ``status``; ``publish_first``: there is no revision before.
        CinquainError: The Hub fails, or the build does.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, hf_hub_download

    api = _of_ours(to)
    history = _history(api, to)
    target = _before(api, to, [(each.commit_id, each.title) for each in history])
    here, wanted = space_files(api, to), space_files(api, to, target)
    operations: list[Any] = [CommitOperationDelete(name) for name in sorted(here.keys() - wanted.keys())]
    for name, content in sorted(wanted.items()):
        if here.get(name) != content:
            path = persist(
                lambda name=name: hf_hub_download(to, name, repo_type="space", revision=target, endpoint=endpoint()),  # type: ignore[misc]
                to,
            )
            operations.append(CommitOperationAdd(name, path))
    made = commit(api, to, operations, f"{_BACK}{target}", history[0].commit_id)
    wait_for_build(api, to, made, progress)
    return made


def delete(to: str) -> tuple[str, ...]:
    """Delete a Space and the weights that were sent with it.

    Returns:
        What is gone.
    """
    api = _of_ours(to)
    weights = _weights(api, to)
    for name in weights:
        persist(lambda name=name: api.delete_repo(name, missing_ok=True), to)  # type: ignore[misc]
    # Last, so that a deletion that was interrupted can be asked for again.
    persist(lambda: api.delete_repo(to, repo_type="space", missing_ok=True), to)
    return (f"spaces/{to}", *weights)


def _weights(api: Any, to: str) -> list[str]:
    """Repositories of weights that were sent with a Space; never one of that name that somebody made by hand."""
    names = (f"{to}-model", f"{to}-adapter")
    there = [name for name in names if persist(lambda name=name: api.repo_exists(name), to)]  # type: ignore[misc]
    return [name for name in there if sent_with(api, name, to)]


def _of_ours(to: str) -> Any:
    """The API, once it is known that this is a Space which Cinquain made."""
    check_name(to)
    api = account()
    if not persist(lambda: api.repo_exists(to, repo_type="space"), to):
        raise InputError("publish_unknown", to=to)
    if SETTINGS not in space_files(api, to):
        raise InputError("publish_foreign", to=to)
    return api


def _history(api: Any, to: str) -> list[Any]:
    """Commits, the newest first."""
    return persist(lambda: list(api.list_repo_commits(to, repo_type="space")), to)


def _before(api: Any, to: str, history: list[tuple[str, str]]) -> str:
    """The revision before the one whose files the Space has now.

    Raises:
        InputError: ``publish_first``.
    """
    commits = [name for name, _ in history]
    (newest, title), *_ = history
    if title.startswith(_BACK) and title.removeprefix(_BACK) in commits:
        newest = title.removeprefix(_BACK)
    for name, title in history[commits.index(newest) + 1 :]:
        if not title.startswith(_BACK) and SETTINGS in space_files(api, to, name):
            return name
    raise InputError("publish_first", to=to)
