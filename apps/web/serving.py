"""The app on a machine of one's own: both languages over one model, behind rules of ours.

A Space runs the plain ``demo.launch()`` instead (space.py), as ZeroGPU hooks that.
"""

import errno
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apps.web.app import SERVED, build_demo
from apps.web.security import LOCAL_HOSTS, MINUTE_LIMIT, middleware
from apps.web.session import Session
from pipelines.errors import InputError
from pipelines.wording import LANGUAGES

if TYPE_CHECKING:
    import uvicorn

__all__ = ["Served", "credentials", "preferred", "serve"]

COOKIE = "cinquain-language"
_YEAR_S = 365 * 24 * 3600


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes:
        address: Where it answers, as an address of this machine.
        port: Its port.
    """

    address: str
    port: int
    _server: "uvicorn.Server"
    _thread: threading.Thread

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has ended; False where the time ran out first."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def close(self) -> None:
        """End it; replies that are being written are broken off."""
        self._server.should_exit = True
        self._thread.join()


def serve(
    session: Session,
    *,
    adapter: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    language: str = "en",
    auth: tuple[str, str] | None = None,
    minute_limit: int = MINUTE_LIMIT,
) -> Served:
    """Serve the app, in a thread of its own.

    Args:
        session: The model of all pages.
        adapter: Folder of its adapter, to be named on the page.
        host: Address to serve on.
        port: TCP port.
        language: For browsers that want neither of ours.
        auth: User and password.
        minute_limit: Requests that one address may send in a minute.

    Raises:
        InputError: ``web_host_refused`` without a password, ``web_host_unknown``; a port that is taken or forbidden.
    """
    if host not in LOCAL_HOSTS and auth is None:
        raise InputError("web_host_refused", host=host)
    host = "127.0.0.1" if host == "localhost" else host
    _check(host, port)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import uvicorn

    rules = middleware(local=host in LOCAL_HOSTS, auth=auth, minute_limit=minute_limit)
    config = uvicorn.Config(
        _application(session, adapter, port, language, rules), host=host, port=port, log_level="error",
        access_log=False, timeout_graceful_shutdown=1, server_header=False, proxy_headers=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="serve", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():  # somebody took the port since we looked
            raise InputError("web_port_busy", port=port)
        time.sleep(0.01)
    session.start()  # last, so that importing torch does not compete with building the pages
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return Served(f"http://{f'[{shown}]' if ':' in shown else shown}:{port}", port, server, thread)


def credentials(name: str) -> tuple[str, str]:
    """User and password from an environment variable: in a command line everybody on the machine could read them.

    Raises:
        InputError: ``web_auth``.
    """
    user, colon, password = os.environ.get(name, "").partition(":")
    if not user or not colon or len(password) < 8:
        raise InputError("web_auth", name=name)
    return user, password


def preferred(cookies: Mapping[str, str], accepted: str, otherwise: str) -> str:
    """The language of a page: what was chosen before, else the first that a browser wants and we have.

    Args:
        cookies: Of the request.
        accepted: Its header Accept-Language (RFC 9110, section 12.5.4).
        otherwise: Where neither says.
    """
    if (chosen := cookies.get(COOKIE)) in LANGUAGES:
        return str(chosen)
    weighted = []
    for place, part in enumerate(accepted.split(",")):
        tag, _, quality = part.strip().partition(";q=")
        try:
            weighted.append((-float(quality or 1), place, tag.partition("-")[0].lower()))
        except ValueError:
            continue
    return next((tag for weight, _, tag in sorted(weighted) if weight and tag in LANGUAGES), otherwise)


def _application(session: Session, adapter: str | None, port: int, language: str, rules: list[Any]) -> Any:
    """One page for each language, and ways to them."""
    import gradio as gr
    from fastapi import FastAPI, Request
    from fastapi.responses import RedirectResponse

    from apps.web.theme import CSS, theme

    application = FastAPI(openapi_url=None, middleware=rules)

    @application.get("/")
    def home(request: Request) -> RedirectResponse:
        found = preferred(request.cookies, request.headers.get("accept-language", ""), language)
        return RedirectResponse(f"/{found}/", headers={"vary": "accept-language, cookie", "cache-control": "no-store"})

    @application.get("/language/{name}")
    def choose(name: str) -> RedirectResponse:
        response = RedirectResponse(f"/{name if name in LANGUAGES else language}/")
        if name in LANGUAGES:
            response.set_cookie(COOKIE, name, max_age=_YEAR_S, samesite="lax", httponly=True)
        return response

    # Arguments of `launch` alone: what they say holds for mounted apps, too, or is said otherwise here.
    alone = {"quiet", "share", "state_session_capacity", "strict_cors"}
    served = {name: value for name, value in SERVED.items() if name not in alone}
    for name in LANGUAGES:
        demo = build_demo(session=session, adapter=adapter, language=name, switch=True)
        demo.state_session_capacity = SERVED["state_session_capacity"]
        gr.mount_gradio_app(
            application, demo, f"/{name}", server_name="127.0.0.1", server_port=port, theme=theme(), css=CSS, **served
        )
    return application


def _check(host: str, port: int) -> None:
    if not 0 < port < 65536:
        raise InputError("web_port_invalid", port=port)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As the server will do it: without this a port stays busy for a minute after the last server on it ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise InputError("web_port_forbidden", port=port) from None
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise InputError("web_host_unknown", host=host) from None
            raise InputError("web_port_busy", port=port) from None
