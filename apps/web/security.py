"""What the browser may do with our page: talk to this server and to nobody else."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["SecurityHeaders", "headers", "middleware"]

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


def middleware(*, space: bool = False) -> list[Any]:
    """The middleware of the app.

    Only requests that name this machine are answered: a page from elsewhere can point its own name at 127.0.0.1 and
    then read this server as if it were its own (DNS rebinding). A Space is reached by names of Hugging Face's choice.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    if space:
        return [Middleware(SecurityHeaders, framed_by=_SPACE_FRAMES)]
    return [
        Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"], www_redirect=False),
        Middleware(SecurityHeaders),
    ]
