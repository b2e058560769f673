"""Put the pages together and serve them on this machine."""

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from apps.web.strings import Strings
from apps.web.zero_gpu import is_zero_gpu, on_gpu
from pipelines import DEFAULT_MODEL
from pipelines.engines import Engine, load_engine
from pipelines.errors import CinquainError, InputError
from pipelines.wording import LANGUAGES, sentence

__all__ = ["PAGES", "SERVED", "build_demo", "launch"]

PAGES = ("translate", "summarize", "chat", "write_code", "write")
LOCAL_HOSTS = ("127.0.0.1", "localhost")
QUEUE_LENGTH = 32
"""Requests that may wait for the model; more are refused with a message instead of waiting for minutes."""

SERVED: dict[str, Any] = {
    "quiet": True, "footer_links": ["settings", "api"], "share": False, "ssr_mode": False, "mcp_server": False,
    "pwa": False, "run_history": False, "enable_monitoring": False, "show_error": False, "allowed_paths": [],
    "max_file_size": "5mb", "state_session_capacity": 100, "strict_cors": True,
}  # fmt: skip
"""How the app is served wherever it is: nothing of Gradio's that stores, shares or opens more than the pages do."""


def build_demo(
    model: str = DEFAULT_MODEL,
    adapter: str | None = None,
    *,
    engine: Engine | None = None,
    options: dict[str, Any] | None = None,
    language: str = "en",
    pages: Iterable[str] = PAGES,
) -> Any:
    """Build the page; the model loads in the background, on ZeroGPU at once.

    Args:
        model: Model reference.
        adapter: Folder of a LoRA adapter.
        engine: A loaded engine to use instead of loading ``model``.
        options: Options of the engine that is loaded.
        language: ``en`` or ``zh``.
        pages: Which of ``PAGES``.

    Returns:
        The ``gradio.Blocks``.

    Raises:
        InputError: An unknown language.
    """
    _silence_gradio()
    import gradio as gr

    from apps.web import chat, summarize, translate, write, write_code
    from apps.web.answer import Page
    from apps.web.session import Session
    from apps.web.theme import header_html, model_html

    if language not in LANGUAGES:
        raise InputError("web_language_unknown", found=language, known=LANGUAGES)
    t = Strings(language)
    load: Callable[[], Engine] = (lambda: engine) if engine else partial(load_engine, model, adapter, **(options or {}))
    session = Session(engine.reference if engine else model, load)
    page = Page(session, t)

    def state() -> Iterator[str]:
        while not session.wait(1.0):
            yield model_html(session.reference, adapter, "loading", t)
        if (error := session.error) is None:
            yield model_html(session.reference, adapter, "ready", t)
        else:
            assert isinstance(error, CinquainError)
            yield model_html(session.reference, adapter, "failed", t, sentence(error, language))

    with gr.Blocks(title="Cinquain", analytics_enabled=False, fill_width=True) as demo:
        gr.HTML(header_html(t), elem_id="header", padding=False)
        about = gr.HTML(model_html(session.reference, adapter, "loading", t), elem_id="model", padding=False)
        with gr.Tabs(elem_id="pages"):
            for name, module in zip(PAGES, (translate, summarize, chat, write_code, write), strict=True):
                if name in pages:
                    with gr.Tab(t(f"{name}.tab"), id=name, elem_id=f"tab-{name}"):
                        module.build(page)
        demo.load(state, None, about, api_visibility="private", show_progress="hidden", concurrency_limit=None)
    demo.queue(max_size=QUEUE_LENGTH, default_concurrency_limit=4)
    if is_zero_gpu():
        session.on_gpu = on_gpu(session)
        session.load()  # in this process, before it is forked for requests
    else:
        session.start()  # last, so that importing torch does not compete with building the page
    return demo


def launch(
    model: str = DEFAULT_MODEL,
    adapter: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    language: str = "en",
    engine: Engine | None = None,
    options: dict[str, Any] | None = None,
    open_browser: bool = False,
    block: bool = True,
) -> Any:
    """Serve the app until Ctrl-C.

    Args:
        model: Model reference.
        adapter: Folder of a LoRA adapter.
        host: Must be this machine: there is no password yet.
        port: TCP port.
        language: ``en`` or ``zh``.
        engine: A loaded engine to use instead of loading ``model``.
        options: Options of the engine that is loaded.
        open_browser: Open the page in the person's browser.
        block: Return only when the server ends; False returns the running ``gradio.Blocks`` (``demo.close()`` ends it).

    Raises:
        InputError: Another host, a port that is taken or forbidden, an unknown language or model.
    """
    if host not in LOCAL_HOSTS:
        raise InputError("web_host_refused", host=host)
    _check_port(port)
    if engine is None and model != "scripted":
        from pipelines.models import resolve, resolve_adapter

        # A wrong name or a missing download is said here, in the terminal, before a page opens.
        if "://" in model:
            engine = load_engine(model, adapter, **(options or {}))
        else:
            model = resolve(model).reference  # of ``auto`` the one that was chosen
            if adapter is not None:
                resolve_adapter(adapter)
    demo = build_demo(model, adapter, engine=engine, options=options, language=language)
    from apps.web.security import middleware
    from apps.web.theme import CSS, theme

    try:
        demo.launch(
            server_name="127.0.0.1", server_port=port, inbrowser=open_browser, prevent_thread_lock=True,
            theme=theme(), css=CSS, app_kwargs={"middleware": middleware()}, **SERVED,
        )  # fmt: skip
    except OSError:  # somebody took the port since we looked
        raise InputError("web_port_busy", port=port) from None
    if block:
        demo.block_thread()
    return demo


def _check_port(port: int) -> None:
    if not 0 < port < 65536:
        raise InputError("web_port_invalid", port=port)
    with socket.socket() as probe:
        # As the server will do it: without this a port stays busy for a minute after the last server on it ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise InputError("web_port_forbidden", port=port) from None
        except OSError:
            raise InputError("web_port_busy", port=port) from None


def _silence_gradio() -> None:
    """Gradio reads these when it is imported or builds a page, so they must be set before."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
