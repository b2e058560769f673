"""What a browser may do with our page, and what others may do with our server."""

import base64
import hmac
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = [
    "LOCAL_HOSTS",
    "MINUTE_LIMIT",
    "LimitRate",
    "RequirePassword",
    "SameOrigin",
    "SecurityHeaders",
    "headers",
    "middleware",
]

LOCAL_HOSTS = ("127.0.0.1", "localhost")
MINUTE_LIMIT = 240
"""Requests of one address: a person at several tabs sends some dozens."""

# A model's reply may hold `![](https://elsewhere/?what-you-wrote)`: without img-src the browser would fetch it.
# Gradio's page needs inline scripts and styles, evaluates component templates, makes workers and files from blobs.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "media-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {framed_by}"
)
# The page of a Space on huggingface.co shows the Space, served at *.hf.space, in a frame.
_SPACE_FRAMES = "https://huggingface.co https://*.hf.space"


def headers(framed_by: str = "'none'") -> dict[str, str]:
    """Headers of every response.

    Args:
        framed_by: Sources of pages that may show this one in a frame.
    """
    return {
        "content-security-policy": _POLICY.format(framed_by=framed_by),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }


Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class SecurityHeaders:
    """Adds ``headers`` to every response. Starlette's BaseHTTPMiddleware would hold streams back."""

    def __init__(self, app: Application, framed_by: str = "'none'") -> None:
        self.app = app
        self.extra = [(name.encode(), value.encode()) for name, value in headers(framed_by).items()]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass everything on, with the headers added where a response starts."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.extra]
            await send(message)

        await self.app(scope, receive, send_with_headers)


class SameOrigin:
    """Refuses what pages of other servers ask for in a visitor's name; programs send no origin and pass.

    Gradio lets every origin in wherever the app is reached by another name than localhost.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on what has no origin, or this server as its origin."""
        found = _headers(scope)
        if "origin" in found and found["origin"].partition("://")[2] != found.get("host"):
            await _refuse(send, 403, "pages of other servers may not use this one")
            return
        await self.app(scope, receive, send)


class RequirePassword:
    """Asks for a user and a password (RFC 7617) before anything else is answered.

    Gradio's own login stands on a page of each mounted app, and leaves some of its routes open.

    Args:
        app: What is guarded.
        user: The user.
        password: The password.
    """

    def __init__(self, app: Application, user: str, password: str) -> None:
        self.app = app
        self._wanted = f"{user}:{password}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on what carries both."""
        if scope["type"] == "http" and not self._knows(_headers(scope).get("authorization", "")):
            await _refuse(
                send, 401, "a user and a password are needed", (b"www-authenticate", b'Basic realm="Cinquain"')
            )
            return
        await self.app(scope, receive, send)

    def _knows(self, header: str) -> bool:
        scheme, _, encoded = header.partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True)
        except ValueError:
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(given, self._wanted)


class LimitRate:
    """Limits what one address may send in a minute: requests that change or ask something, and guesses of a password.

    Args:
        app: What is guarded.
        limit: Requests in a minute.
        clock: Seconds.
    """

    def __init__(
        self, app: Application, limit: int = MINUTE_LIMIT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.app = app
        self._limit, self._clock = limit, clock
        self._since = 0.0
        self._counts: Counter[str] = Counter()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on what is within the limit."""
        now = self._clock()
        if now - self._since >= 60:
            self._since = now
            self._counts.clear()
        address = (scope.get("client") or ("", 0))[0]
        if self._counts[address] >= self._limit:
            await _refuse(send, 429, "too many requests", (b"retry-after", str(60 - int(now - self._since)).encode()))
            return
        if scope.get("method") == "POST":
            self._counts[address] += 1

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                self._counts[address] += 1
            await send(message)

        await self.app(scope, receive, send_and_count)


def middleware(
    *, space: bool = False, local: bool = True, auth: tuple[str, str] | None = None, minute_limit: int = MINUTE_LIMIT
) -> list[Any]:
    """What every request must pass, the outermost first.

    Args:
        space: Whether it is a Space, which is reached by names of Hugging Face's choice and guarded by Hugging Face.
        local: Whether it serves this machine alone. Then only requests that name this machine are answered: a page from
            elsewhere can point its own name at 127.0.0.1 and read this server as if it were its own (DNS rebinding).
        auth: User and password, which such a page does not know.
        minute_limit: Requests that one address may send in a minute.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    if space:
        return [Middleware(SecurityHeaders, framed_by=_SPACE_FRAMES)]
    return [
        Middleware(SecurityHeaders),
        *([Middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL_HOSTS], www_redirect=False)] if local else []),
        Middleware(LimitRate, limit=minute_limit),
        *([Middleware(RequirePassword, user=auth[0], password=auth[1])] if auth else []),
        Middleware(SameOrigin),
    ]


def _headers(scope: Message) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope.get("headers", [])}


async def _refuse(send: Send, status: int, reason: str, *more: tuple[bytes, bytes]) -> None:
    body = reason.encode()
    start = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
