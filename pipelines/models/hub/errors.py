"""What the Hub answered, as one sentence with a way out. Every question to it is bounded in time."""

import os
import re
import threading
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, TypeVar

from pipelines.errors import CinquainError, InputError
from pipelines.home import offline_variable
from pipelines.models.embedded import EMBEDDED
from pipelines.models.hub.cache import cached_hub_models

__all__ = ["bounded", "close_names", "endpoint", "explain", "models_here", "shown"]

ANSWER_TIMEOUT_S = 10.0
"""Seconds for one answer of the Hub, name lookup and all addresses included. The library's own timeout counts for each
address and each retry: without any network it took 63 s to give up."""

Answer = TypeVar("Answer")


def endpoint() -> str:
    """The Hub, or the mirror that HF_ENDPOINT names."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def shown(address: str) -> str:
    """An address, or a text with one, as it may be shown: that of a mirror or a private index may hold a password."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", address)


def bounded(question: Callable[[], Answer]) -> Answer:
    """Ask the Hub something.

    Raises:
        TimeoutError: No answer within ``ANSWER_TIMEOUT_S``.
    """
    outcome: dict[str, Any] = {}

    def ask() -> None:
        try:
            outcome["answer"] = question()
        except BaseException as error:  # brought to the thread that waits for it
            outcome["error"] = error

    # A daemon, because a thread that hangs in a name lookup must not keep the program from ending.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_TIMEOUT_S)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {ANSWER_TIMEOUT_S:.0f} s")
    if "error" in outcome:
        raise outcome["error"]
    answer: Answer = outcome["answer"]
    return answer


def close_names(name: str, known: list[str]) -> str:
    """Up to three names like a wrong one, as text; the embedded model where none is close."""
    return ", ".join(get_close_matches(name, known, n=3, cutoff=0.6) or known[:1])


def models_here() -> list[str]:
    """The embedded model, and the Hub models that are in the cache."""
    return [*EMBEDDED, *cached_hub_models()]


def explain(error: Exception, hub_id: str, revision: str, known: list[str]) -> CinquainError:
    """The sentence for what a question or a download met.

    Args:
        error: What huggingface_hub or its HTTP client raised.
        hub_id: ``org/name``.
        revision: Branch, tag or commit that was asked for.
        known: Names of other models, for suggestions.
    """
    from huggingface_hub.errors import (
        DisabledRepoError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, CinquainError):
        return error
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return explain(error.__cause__, hub_id, revision, known)  # the library's wrapping says less than the cause
    server = shown(endpoint())
    page = f"{server}/{hub_id}"
    if isinstance(error, GatedRepoError):
        return InputError("hub_gated_no_access" if _token() else "hub_gated_no_token", model=hub_id, page=page)
    if isinstance(error, RevisionNotFoundError):
        return InputError("hub_revision_unknown", model=hub_id, found=revision, names=_revisions(hub_id))
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401 and _token() and "credentials" in str(error):
        return InputError("hub_token_refused", server=server)
    if isinstance(error, DisabledRepoError):
        return CinquainError("hub_disabled", model=hub_id, page=page)
    # A 404 of the Hub's own carries a code; one without comes from a proxy, or from a server that is no Hub.
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        if kind := _other_kind(hub_id):
            return InputError("hub_not_a_model", model=hub_id, kind=kind)
        code = "hub_unknown" if _token() else "hub_unknown_no_token"
        return InputError(code, model=hub_id, nearest=close_names(hub_id, [name for name in known if name != hub_id]))
    if status == 429:
        return CinquainError("hub_rate_limited", server=server, seconds=_retry_after(error))
    if status is not None and status >= 500:
        return CinquainError("hub_server_error", server=server, status=status)
    if status is not None:
        return CinquainError("hub_refused", server=server, model=hub_id, status=status)
    if isinstance(error, OSError) and error.errno and isinstance(error.filename, str):
        return CinquainError("hub_cache_failed", path=error.filename, problem=error.strerror or str(error))
    if isinstance(error, OfflineModeIsEnabled):  # set in a program by other means than the environment
        variable = offline_variable() or "HF_HUB_OFFLINE"
        return CinquainError("model_hub_offline", reference=hub_id, variable=variable, nearest=models_here()[:3])
    return CinquainError("hub_unreachable", server=server, problem=_first_line(error), nearest=models_here()[:3])


def _token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _other_kind(hub_id: str) -> str | None:
    """Whether this is the name of a data set or a Space instead."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint())
    for kind in ("dataset", "space"):
        try:
            bounded(lambda kind=kind: api.repo_info(hub_id, repo_type=kind))  # type: ignore[misc]
            return f"hub_{kind}"
        except Exception:  # no answer is no: the sentence about the model is what counts
            continue
    return None


def _revisions(hub_id: str) -> list[str]:
    """Branches and tags that exist, at most eight."""
    from huggingface_hub import HfApi

    try:
        refs = bounded(lambda: HfApi(endpoint=endpoint()).list_repo_refs(hub_id))
    except Exception:  # as above
        return ["main"]
    return [ref.name for ref in [*refs.branches, *refs.tags]][:8]


def _retry_after(error: Any) -> str:
    """Seconds that the Hub asks to wait: ``Retry-After``, or the ``t`` of its ``RateLimit`` header."""
    headers = error.response.headers
    if (given := headers.get("Retry-After", "")).strip().isdigit():
        return str(given).strip()
    parts = [part.strip() for part in headers.get("RateLimit", "").split(";")]
    return next((part[2:] for part in parts if part.startswith("t=") and part[2:].isdigit()), "60")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shown(lines[0] if lines else type(error).__name__)[:200].rstrip(".")
