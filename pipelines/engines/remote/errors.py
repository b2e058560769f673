"""What can go wrong with a server, each as one sentence that says what to do; and whether asking again may help."""

import os
import re
import ssl
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from pipelines.engines.remote.address import Address
from pipelines.engines.remote.keys import advised_variable
from pipelines.engines.remote.payload import Known
from pipelines.engines.remote.transport import OversizedError, RefusedError, http_library, readable
from pipelines.errors import CinquainError, InputError, UnavailableError

__all__ = ["Failure", "failure_of", "refused_field", "seconds_until"]

# How OpenAI, vLLM, llama.cpp, TGI and Gemini say that a prompt is too long.
_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|window|size)|maximum (?:context|input)|max_model_len|token count|inputs? tokens? .*must"
    r"|too many (?:input )?tokens|prompt is too long|reduce (?:the length|your prompt)",
    re.IGNORECASE,
)


# Fields that a server may not take. Names that are also ordinary words count only where the server quotes them.
_NAMES = ("max_completion_tokens", "max_tokens", "top_p", "stream_options")
_WORDS = ("temperature", "seed", "stop")


# What reading events raises that are no JSON, or that have another shape.
_OTHER_SHAPE = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed.

    Attributes:
        error: What the person is told when nothing helps.
        again: Whether the same request may succeed later.
        wait_s: Seconds that the server asked to wait for.
    """

    error: CinquainError
    again: bool = False
    wait_s: float = 0.0


def failure_of(error: Exception, address: Address, known: Known) -> Failure:
    """Judge what an attempt ended with; the error holds nothing of the request, so that no key is ever in it.

    Raises:
        Exception: The error itself where it is none of a server, but a fault of ours.
    """
    from huggingface_hub.errors import InferenceTimeoutError, TextGenerationError

    library = http_library()
    server = address.host
    if isinstance(error, CinquainError):
        return Failure(error)
    if isinstance(error, RefusedError):
        return _refusal(error, address, known)
    if isinstance(error, OversizedError):
        return Failure(CinquainError("remote_endless", server=server))
    if isinstance(error, TextGenerationError):  # an error among the events of a reply
        said = error.args[0] if error.args else ""
        message = readable(str(said.get("message", said) if isinstance(said, dict) else said))
        return Failure(CinquainError("remote_broke", server=server, said=address.mask(message)), True)
    if isinstance(error, InferenceTimeoutError | library.TimeoutException):
        return Failure(UnavailableError("remote_unreachable", server=server, problem="timeout"), known.answered)
    if isinstance(error, library.ConnectError):
        causes = list(_causes(error))
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            return Failure(UnavailableError("remote_certificate", server=server, problem=readable(str(error))))
        problem = next((_strerror(cause) for cause in causes if isinstance(cause, OSError) and cause.errno), "")
        # A server that has answered before is starting again; one that never has, is not at this address.
        failure = UnavailableError("remote_unreachable", server=server, problem=readable(problem or str(error)))
        return Failure(failure, known.answered)
    if isinstance(error, library.HTTPError | EOFError):  # after the connection was made
        return Failure(CinquainError("remote_cut", server=server), True)
    if not isinstance(error, _OTHER_SHAPE):
        raise error
    return Failure(CinquainError("remote_garbage", server=server))


def refused_field(error: RefusedError, sent: Collection[str]) -> str | None:
    """Which of the fields that were sent the server does not take; None where it complains of something else."""
    if error.status not in (400, 422) or _TOO_LONG.search(error.body):
        return None
    named = re.search(r'"param"\s*:\s*"(\w+)"', error.body)
    found = [named[1]] if named and named[1] in sent else []
    found += [name for name in _NAMES if name in sent and re.search(rf"\b{name}\b", error.body)]
    # In quotes of any kind, escaped ones too.
    found += [name for name in _WORDS if name in sent and re.search(rf"""["'`“‘]{name}\\?["'`”’]""", error.body)]
    # "max_tokens is too large: this model supports at most 4096": without the field it would write without end.
    if not found or (found[0].startswith("max_") and re.search("too large|at most|less than|between", error.body)):
        return None
    return found[0]


def seconds_until(header: str) -> float:
    """Seconds that a ``Retry-After`` asks to wait: a number or a date; 0 where it is neither."""
    if re.fullmatch(r"\d+(\.\d+)?", header.strip()):
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _refusal(error: RefusedError, address: Address, known: Known) -> Failure:
    server, status, said = address.host, error.status, error.message or "-"
    if status == 200:
        return Failure(UnavailableError("remote_wrong_type", server=server, base=address.base, found=error.kind or "-"))
    if 300 <= status < 400:
        return Failure(UnavailableError("remote_redirect", server=server, status=status))
    if status == 401 and address.key is None:
        return Failure(UnavailableError("remote_key_missing", server=server, variable=advised_variable(server)))
    if status == 401 and address.key:  # what it says of the key is not shown: servers repeat parts of it
        return Failure(UnavailableError("remote_key_refused", server=server, source=address.key.source))
    if status == 403:
        # Some gateways say so of one text that they will not read: then the others go on.
        kind = CinquainError if known.answered else UnavailableError
        return Failure(kind("remote_forbidden", server=server, said=said))
    if status == 402 or "insufficient_quota" in error.body:
        return Failure(UnavailableError("remote_quota", server=server, said=said))
    if status == 429:
        busy = UnavailableError("remote_busy", server=server, said=said)
        return Failure(busy, True, seconds_until(error.retry_after))
    if status in (400, 413, 422) and (status == 413 or _TOO_LONG.search(error.body)):
        return Failure(InputError("remote_too_long", server=server, said=said))
    if status in (408, 409) or status >= 500:
        # 500 may be about this one text; from 501 on it is the server, or what stands before it.
        kind = UnavailableError if status > 500 else CinquainError
        failed = kind("remote_failed", server=server, status=status, said=said)
        return Failure(failed, True, seconds_until(error.retry_after))
    return Failure(CinquainError("remote_refused", server=server, status=status, said=said))


def _strerror(error: OSError) -> str:
    """What the system says; asyncio puts the address in its place. Look-ups of names have numbers of their own."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
