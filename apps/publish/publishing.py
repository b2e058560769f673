"""Send a verified Space to the Hub, wait until it runs, and ask it.

Every step finds out what is there and changes only what differs, so a publish that was interrupted goes on where it
stopped when the same command is given again.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from apps.publish.asking import Reply, ask
from apps.publish.hub import page_of, persist, sent_with, space_files, wait_for_build, weights_message
from apps.publish.order import Order
from apps.publish.staging import Staged
from apps.publish.verifying import Verified, stage_for, verify
from apps.web.space import SETTINGS
from finetune.pushing import account, send
from pipelines.errors import CinquainError, InputError

__all__ = ["Published", "commit", "publish"]

_MESSAGE = "Space by Cinquain"
_LEFT_ALONE = {".gitattributes"}


@dataclass(frozen=True)
class Published:
    """A Space that answers on the Hub.

    Attributes:
        address: Its page.
        commit: What it runs.
        changed: How many files were sent or removed.
        replies: What its endpoints answered there; empty where it sleeps or is paused.
        verified: What was seen before.
    """

    address: str
    commit: str
    changed: int
    replies: tuple[Reply, ...]
    verified: Verified


def publish(order: Order) -> Published:
    """Verify a Space, send it with its weights, wait for its build, ask it.

    Raises:
        InputError: As ``verify``; and not logged in, no right, a name that is taken, a plan that is missing;
            ``publish_foreign``, ``publish_foreign_weights``: what is there is not Cinquain's;
            ``publish_private_weights``.
        CinquainError: The Hub fails, or the build does; ``publish_meanwhile``: somebody else published at that moment.
    """
    with order.alone():
        # What the Hub would refuse is known before minutes are spent on the trial.
        api = account(order.to)
        if persist(lambda: api.repo_exists(order.to, repo_type="space"), order.to):
            _refuse_foreign(space_files(api, order.to), order.to)
        verified = verify(order, sending=True)
        staged = _with_weights(api, order, verified)
        head, there = _repository(api, order)
        for name, value in order.secrets.items():
            persist(lambda name=name, value=value: api.add_space_secret(order.to, name, value), order.to)  # type: ignore[misc]
        for name, value in order.variables.items():
            persist(lambda name=name, value=value: api.add_space_variable(order.to, name, value), order.to)  # type: ignore[misc]
        head, changed = _send(api, order, staged, head, there)
        _hardware(api, order)
        order.progress.say("publish_waiting", to=order.to)
        wait_for_build(api, order.to, head, order.progress)
        replies = _ask(api, order)
    return Published(page_of(order.to), head, changed, replies, verified)


def _with_weights(api: Any, order: Order, verified: Verified) -> Staged:
    """The Space that names its weights with their commit, once they are on the Hub.

    Raises:
        InputError: ``publish_foreign_weights``.
    """
    upload = verified.weights.upload
    if upload is None:
        return verified.staged
    name, message = upload.repository, weights_message(order.to)
    if persist(lambda: api.repo_exists(name), name) and sent_with(api, name, order.to) is False:
        raise InputError("publish_foreign_weights", repository=name, to=order.to)
    order.progress.say("publish_sending_weights", repository=name)
    sent = persist(lambda: send(upload.files, name, message, private=order.private), name)
    return stage_for(order, verified.weights, sent)


def _repository(api: Any, order: Order) -> tuple[str, dict[str, str]]:
    """The newest commit of the Space, which is made where there is none, and the hashes of its files.

    Raises:
        InputError: ``publish_foreign``.
    """
    persist(
        lambda: api.create_repo(
            order.to, repo_type="space", space_sdk="gradio", space_hardware=order.hardware, private=order.private,
            exist_ok=True,
        ),
        order.to,
    )  # fmt: skip
    # The commit first: what comes between it and the listing is noticed when upon this commit nothing can be put.
    head = str(persist(lambda: api.repo_info(order.to, repo_type="space"), order.to).sha)
    there = space_files(api, order.to)
    _refuse_foreign(there, order.to)
    return head, there


def _refuse_foreign(there: dict[str, str], to: str) -> None:
    """Leave a Space alone that holds something and was not made here.

    Raises:
        InputError: ``publish_foreign``.
    """
    if there.keys() - _LEFT_ALONE - {"README.md"} and SETTINGS not in there:
        raise InputError("publish_foreign", to=to)


def _send(api: Any, order: Order, staged: Staged, head: str, there: dict[str, str]) -> tuple[str, int]:
    """One commit of what differs; the newest commit, and how many files changed."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    new = [name for name in staged.files if there.get(name) != _git_sha1((staged.folder / name).read_bytes())]
    gone = sorted(there.keys() - staged.files.keys() - _LEFT_ALONE)
    if not new and not gone:
        return head, 0
    order.progress.say("publish_sending", changed=len(new), removed=len(gone))
    operations = [CommitOperationAdd(name, staged.folder / name) for name in new]
    return commit(api, order.to, [*operations, *map(CommitOperationDelete, gone)], _MESSAGE, head), len(new) + len(gone)


def commit(api: Any, to: str, operations: list[Any], message: str, head: str) -> str:
    """One commit upon the one that was looked at.

    Raises:
        CinquainError: ``publish_meanwhile``: another one came in between.
    """
    try:
        done = persist(
            lambda: api.create_commit(to, operations, commit_message=message, repo_type="space", parent_commit=head),
            to,
        )
    except CinquainError as error:
        # The Hub says 412 where the branch has moved on, and 409 where another commit is being made at that moment.
        if error.parameters.get("status") == 412 or error.code == "push_name_taken":
            raise CinquainError("publish_meanwhile", to=to) from error
        raise
    return str(done.oid)


def _hardware(api: Any, order: Order) -> None:
    """Ask for the hardware where the Space has another one."""
    runtime = persist(lambda: api.get_space_runtime(order.to), order.to)
    if order.hardware not in (runtime.hardware, runtime.requested_hardware):
        persist(lambda: api.request_space_hardware(order.to, order.hardware), order.to)


def _ask(api: Any, order: Order) -> tuple[Reply, ...]:
    """The same requests as on this machine."""
    from huggingface_hub import get_token

    info = persist(lambda: api.space_info(order.to), order.to)
    if not info.host:
        return ()
    return tuple(ask(info.host, name, token=get_token()) for name in order.endpoints)


def _git_sha1(content: bytes) -> str:
    """The name that git gives a file's content, which the Hub lists."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
