"""Questions to the Hub about Spaces: retried where it is the Hub that fails, one sentence where it refuses."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from finetune.pushing import asked
from pipelines.errors import CinquainError, InputError
from pipelines.models.hub.errors import endpoint, shown
from pipelines.models.progress import Progress

__all__ = ["page_of", "persist", "sent_with", "space_files", "wait_for_build", "weights_message"]

Answer = TypeVar("Answer")

_BUILDING = {"BUILDING", "RUNNING_BUILDING", "APP_STARTING", "RUNNING_APP_STARTING"}
_FAILED = {"NO_APP_FILE", "CONFIG_ERROR", "BUILD_ERROR", "RUNTIME_ERROR"}
_PAUSES_S = (1.0, 2.0, 4.0, 8.0)
_POLL_S = 3.0
_BUILD_S = 45 * 60.0
"""Seconds that a build may take: torch with CUDA is gigabytes."""
_UNSEEN_S = 120.0
"""Seconds after which a Space without an app is no longer one whose first commit the Hub has not seen yet."""
_LINES = 15


def persist(question: Callable[[], Answer], to: str) -> Answer:
    """An answer of the Hub; asked again where its servers or the network failed.

    Raises:
        InputError: Not logged in, no right to write, a plan or quota that is missing, a name that is taken.
        CinquainError: It still fails.
    """
    for pause in (*_PAUSES_S, None):
        try:
            return asked(question, to)
        except InputError as error:
            raise _for_spaces(error, to) from error
        except CinquainError as error:
            if pause is None or int(error.parameters.get("status", 500)) < 500:
                raise
        time.sleep(pause)
    raise AssertionError("the last question ends the loop")


def _for_spaces(error: InputError, to: str) -> InputError:
    """A refusal in the words that help for a Space."""
    said = str(error.__cause__).lower()
    if error.code == "push_plan":
        return InputError("publish_plan", to=to)
    if "quota" in said or "storage limit" in said:
        return InputError("publish_quota", to=to)
    if "hardware" in said:
        return InputError("publish_hardware", to=to)
    return error


def space_files(api: Any, to: str, revision: str = "main") -> dict[str, str]:
    """Hash of each file of a Space by its path: that of a git object, or SHA-256 of what lies in LFS."""
    from huggingface_hub.hf_api import RepoFile

    listed = persist(lambda: list(api.list_repo_tree(to, repo_type="space", recursive=True, revision=revision)), to)
    return {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in listed if isinstance(entry, RepoFile)
    }


def weights_message(to: str) -> str:
    """Title of the commits that send the weights of a Space."""
    return f"Weights of the Space {to}"


def sent_with(api: Any, repository: str, to: str) -> bool | None:
    """Whether a repository of weights was made for a Space: its first commit tells; None of one that holds nothing yet.

    A person may have a model of that very name, pushed by hand: it is neither overwritten nor deleted with the Space.
    """
    commits = persist(lambda: list(api.list_repo_commits(repository)), repository)
    titles = [each.title for each in reversed(commits) if each.title != "initial commit"]
    if titles:
        return titles[0] == weights_message(to)
    held = persist(lambda: api.list_repo_files(repository), repository)
    return None if set(held) <= {".gitattributes"} else False


def page_of(to: str) -> str:
    """Address of a Space's page."""
    return f"{shown(endpoint())}/spaces/{to}"


def wait_for_build(api: Any, to: str, commit: str, progress: Progress) -> None:
    """Wait until a Space runs a commit.

    Args:
        api: The Hub.
        to: ``user/name``.
        commit: What must run.
        progress: Shows each new stage, and the build's log as it grows.

    Raises:
        CinquainError: ``publish_build`` with the first lines of the log that tell why; ``publish_build_slow``.
    """
    began, last, log = time.monotonic(), "", _BuildLog(api, to, progress)
    while (waited := time.monotonic() - began) < _BUILD_S:
        runtime = persist(lambda: api.get_space_runtime(to), to)
        stage = str(getattr(runtime.stage, "value", runtime.stage))
        # Until the build begins, the Hub still tells of the commit before; of a Space that is new, that it has no app.
        stale = runtime.raw.get("sha") not in (None, commit)
        stale = stale or (stage == "NO_APP_FILE" and runtime.raw.get("sha") is None and waited < _UNSEEN_S)
        if stage != last:
            progress.say("publish_stage", stage=stage)
            last = stage
        if stage in _BUILDING and not stale:
            log.follow()
        if stage in _FAILED and not stale:
            build = stage != "RUNTIME_ERROR"
            raise CinquainError("publish_build", to=to, stage=stage, lines="\n".join(_reason(api, to, build=build)))
        if stage not in _BUILDING and stage not in _FAILED and not stale:
            return
        time.sleep(_POLL_S)
    raise CinquainError("publish_build_slow", to=to, stage=last, minutes=f"{_BUILD_S / 60:.0f}")


class _BuildLog:
    """The log of a build, each line of which is shown once.

    Args:
        api: The Hub.
        to: ``user/name``.
        progress: Shows them.
    """

    def __init__(self, api: Any, to: str, progress: Progress) -> None:
        self._api, self._to, self._progress = api, to, progress
        self._told = 0
        self._lost = False

    def follow(self) -> None:
        """Show what is new. A log that cannot be had is not asked for again: the stages go on without it."""
        if self._lost:
            return
        try:
            lines = _lines(self._api, self._to, build=True)
        except Exception:  # whatever a library without that call, or the Hub, answers
            self._lost = True
            return
        for line in lines[self._told if self._told <= len(lines) else 0 :]:
            self._progress.say("publish_line", line=line)
        self._told = len(lines)


def _lines(api: Any, to: str, *, build: bool) -> list[str]:
    lines = [line.rstrip() for text in api.fetch_space_logs(to, build=build) for line in text.splitlines()]
    return [line for line in lines if line.strip()]


def _reason(api: Any, to: str, *, build: bool) -> list[str]:
    """The lines of a log that tell why it failed: those from the first one that names an error."""
    try:
        lines = _lines(api, to, build=build)
    except Exception as error:  # as above: the stage was told
        return [f"{type(error).__name__}: {error}"]
    first = next((index for index, line in enumerate(lines) if "error" in line.lower()), max(0, len(lines) - _LINES))
    return lines[first : first + _LINES] or ["–"]
