"""One request to a running Space through its public API, the same on this machine and on the Hub."""

import time
from dataclasses import dataclass
from typing import Any

from pipelines.errors import CinquainError

__all__ = ["Reply", "ask"]

_REQUESTS: dict[str, dict[str, Any]] = {
    "translate": {"text": "Good morning, Ada.", "target": "fr"},
    "summarize": {
        "text": "The mill at Larch Bridge closed in 1962. Its wheel was sold, and the house fell empty. Last year a "
        "baker bought it, repaired the roof and began to grind rye again."
    },
    "chat": {"message": "Which colour is the sky?"},
    "write_code": {"instruction": "A function add(a, b) that returns the sum of two numbers."},
    "write": {"brief": "Snow on the roof"},
}
"""Fields by endpoint; what is left out keeps the page's own value."""


@dataclass(frozen=True)
class Reply:
    """What a Space answered.

    Attributes:
        endpoint: Which of its endpoints was asked.
        text: The beginning of the reply.
        seconds: From the request to the end of the reply.
    """

    endpoint: str
    text: str
    seconds: float


def ask(address: str, endpoint: str, *, token: str | None = None, timeout: float = 600.0) -> Reply:
    """Ask a Space something that each of its endpoints can answer.

    Args:
        address: ``http://127.0.0.1:7860`` or ``https://user-name.hf.space``.
        endpoint: A page of ``apps.web.app.PAGES``.
        token: For a private Space.
        timeout: Seconds until the reply must be there.

    Raises:
        CinquainError: ``publish_no_answer``: no reply, an empty one, or an error.
    """
    from gradio_client import Client

    began = time.monotonic()
    try:
        client = Client(address, token=token, verbose=False, download_files=False, analytics_enabled=False)
        job = client.submit(**_REQUESTS[endpoint], max_new_tokens=32, api_name=f"/{endpoint}")
        found = job.result(timeout=timeout)
    except Exception as error:  # whatever the client raises means the same here: it does not work
        problem = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise CinquainError("publish_no_answer", address=address, endpoint=endpoint, problem=problem) from error
    text = _text(found)
    if not text.strip():
        raise CinquainError("publish_no_answer", address=address, endpoint=endpoint, problem="an empty reply")
    return Reply(endpoint, text.strip()[:200], time.monotonic() - began)


def _text(found: Any) -> str:
    """The reply among what an endpoint gives back: its first value, of a conversation the last message."""
    value = found[0] if isinstance(found, (list, tuple)) and found else found
    while isinstance(value, (list, dict)):
        if not value:
            return ""
        value = value[-1] if isinstance(value, list) else value.get("content", value.get("text", ""))
    return str(value or "")
