"""What lies under the client of huggingface_hub: one HTTP client for one server, which trusts it with little.

The client itself (``AsyncInferenceClient``) writes the request and reads the events. Its own HTTP client follows
redirects, takes bodies of any size, refuses every host while ``HF_HUB_OFFLINE`` is set, and where it is given no key it
sends the Hub's token to any server. So it gets this one instead.
"""

import re
from collections.abc import AsyncIterator
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from pipelines.engines.remote.address import Address
from pipelines.errors import InputError

__all__ = [
    "MAX_BODY",
    "MAX_LINE",
    "OversizedError",
    "RefusedError",
    "http_library",
    "open_client",
    "readable",
    "trusted_certificates",
]

MAX_BODY = 32_000_000
"""Most bytes of one reply. A token takes about 300 bytes as an event, so that 32,768 tokens, the most that can be asked
for, take 10 MB."""

MAX_LINE = 1_000_000
"""Most bytes of one event."""

_MAX_ERROR = 20_000
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")
# Allowed inside of JSON strings, and taken for ends of lines by str.splitlines, with which the client reads events.
_LINE_ENDS = re.compile(rb"\xc2\x85|\xe2\x80[\xa8\xa9]")
_HALF_LINE_END = re.compile(rb"(?:\xc2|\xe2\x80?)\Z")
_ESCAPED = {b"\xc2\x85": rb"\u0085", b"\xe2\x80\xa8": rb"\u2028", b"\xe2\x80\xa9": rb"\u2029"}


class RefusedError(Exception):
    """The server answered, and not with what was asked for.

    Attributes:
        status: HTTP status.
        kind: Content type.
        message: What it said, fit to be shown: one line, without the key.
        body: The whole of it, without the key.
        retry_after: Its ``Retry-After``, "" without one.
    """

    def __init__(self, status: int, kind: str, message: str, body: str, retry_after: str) -> None:
        super().__init__(status)
        self.status = status
        self.kind = kind
        self.message = message
        self.body = body
        self.retry_after = retry_after


class OversizedError(Exception):
    """A body that does not end."""


@cache
def http_library() -> ModuleType:
    """The library that the installed huggingface_hub speaks HTTP with: httpx2 from 2.0 on, before that httpx."""
    from huggingface_hub import __version__

    return import_module("httpx2" if int(__version__.split(".")[0]) >= 2 else "httpx")


def open_client(address: Address, connect_s: float) -> Any:
    """An asynchronous HTTP client for one server.

    It sends the key to this server only, follows no redirect, and reads bodies up to ``MAX_BODY``.

    Args:
        address: The server.
        connect_s: Seconds for making a connection; whoever asks limits the rest.

    Raises:
        InputError: ``remote_settings``: the environment names certificates or a proxy that cannot be used.
    """
    library = http_library()
    own = library.URL(address.base)

    async def prepare(request: Any) -> None:
        url = request.url
        if (url.scheme, url.host, url.port) != (own.scheme, own.host, own.port):
            raise AssertionError(f"a request for {url.host} on the client of {own.host}")
        # Whatever else was put there: the Hub's token, a placeholder.
        request.headers.pop("authorization", None)
        if address.key:
            request.headers["authorization"] = f"Bearer {address.key.value}"
        request.headers["user-agent"] = "cinquain"
        request.headers["accept-encoding"] = "identity"  # a packed body could unpack to any size

    async def examine(response: Any) -> None:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        wanted = "text/event-stream" if response.request.method == "POST" else "application/json"
        packed = response.headers.get("content-encoding", "identity") != "identity"
        if response.status_code == 200 and kind == wanted and not packed:
            response.stream = _guarded(library, response.stream)
            return
        # No words of a page: only what is meant for programs, or plain text, is worth showing.
        body = "" if packed else address.mask(await _beginning(response))
        message = readable(body) if kind in ("application/json", "text/plain", "text/event-stream") else ""
        raise RefusedError(response.status_code, kind, message, body, response.headers.get("retry-after", ""))

    try:
        return library.AsyncClient(
            timeout=library.Timeout(None, connect=connect_s),
            limits=library.Limits(max_connections=None, max_keepalive_connections=None),
            follow_redirects=False,
            event_hooks={"request": [prepare], "response": [examine]},
            trust_env=not address.loopback,  # a proxy must not see what is sent to this machine
            verify=trusted_certificates() if own.scheme == "https" else False,
        )
    except (OSError, ValueError, ImportError, library.InvalidURL) as error:
        raise InputError("remote_settings", problem=readable(str(error))) from None


def readable(body: str, limit: int = 300) -> str:
    """What a server said, as one line: the message inside of its JSON where it has one."""
    import json

    try:
        found = _message(json.loads(body))
    except (ValueError, RecursionError):
        found = None
    text = " ".join(_CONTROLS.sub(" ", found or body).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _message(data: Any) -> str | None:
    """The message in the shapes that servers write: ``{"error": {"message"}}``, ``{"detail"}``, a list of them."""
    if isinstance(data, list) and data:
        return _message(data[0])
    if not isinstance(data, dict):
        return data if isinstance(data, str) else None
    return next((found for name in ("error", "message", "detail", "msg") if (found := _message(data.get(name)))), None)


@cache
def trusted_certificates() -> Any:
    """The certificates, read once: that takes 20 ms, and a client lives for one batch."""
    return http_library().create_ssl_context()


async def _beginning(response: Any) -> str:
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= _MAX_ERROR:
            break
    return body[:_MAX_ERROR].decode("utf-8", "replace")


def _guarded(library: ModuleType, stream: Any) -> Any:
    """A body that ends with an error where it is too long, and in which only line feeds end a line."""

    class Guarded(library.AsyncByteStream):  # type: ignore[name-defined]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            total = line = 0
            held = b""
            async for chunk in stream:
                total += len(chunk)
                end = chunk.rfind(b"\n")
                line = line + len(chunk) if end < 0 else len(chunk) - end - 1
                if total > MAX_BODY or line > MAX_LINE:
                    raise OversizedError
                chunk = held + chunk
                half = _HALF_LINE_END.search(chunk)
                held = half[0] if half else b""
                yield _LINE_ENDS.sub(lambda found: _ESCAPED[found[0]], chunk.removesuffix(held))
            if held:
                yield held

        async def aclose(self) -> None:
            await stream.aclose()

    return Guarded()
