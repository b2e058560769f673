"""Put the pages together and serve them on this machine."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from apps.web.session import Session
from apps.web.strings import Strings
from apps.web.turns import MOST
from apps.web.zero_gpu import is_zero_gpu, on_gpu
from pipelines import DEFAULT_MODEL
from pipelines.engines import Engine, load_engine
from pipelines.errors import CinquainError, InputError
from pipelines.wording import LANGUAGES, sentence

if TYPE_CHECKING:
    from apps.web.serving import Served

__all__ = ["PAGES", "SERVED", "build_demo", "launch"]

PAGES = ("translate", "summarize", "chat", "write_code", "write")
"""Pages of the five tasks, each with an endpoint of its name."""

SERVED: dict[str, Any] = {
    "quiet": True, "footer_links": ["settings", "api"], "share": False, "ssr_mode": False, "mcp_server": False,
    "pwa": False, "run_history": False, "enable_monitoring": False, "show_error": False, "allowed_paths": [],
    "max_file_size": "5mb", "state_session_capacity": 100, "strict_cors": True,
}  # fmt: skip
"""How the app is served wherever it is: nothing of Gradio's that stores, shares or opens more than the pages do."""


# Screen readers choose their voice by the language; Gradio always says English.
_ON_LOAD = """() => {
  document.documentElement.lang = "%s";
  const press = (end) => {
    const buttons = [...document.querySelectorAll(`button[id$="-${end}"]`)];
    const button = buttons.find((each) => each.offsetParent !== null && !each.disabled);
    if (button) button.click();
    return Boolean(button);
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && press("run")) event.preventDefault();
    if (event.key === "Escape") press("stop");
  });
}"""


def build_demo(
    model: str = DEFAULT_MODEL,
    adapter: str | None = None,
    *,
    session: Session | None = None,
    options: dict[str, Any] | None = None,
    language: str = "en",
    pages: Iterable[str] = PAGES,
    switch: bool = False,
) -> Any:
    """Build the page in one language.

    Args:
        model: Model reference.
        adapter: Folder of a LoRA adapter.
        session: The model of all pages, started by the caller; without it ``model`` is loaded: in the background, on
            ZeroGPU at once.
        options: Options of the engine that is loaded.
        language: ``en`` or ``zh``.
        pages: Which of ``PAGES``.
        switch: Whether it is served on a machine of one's own: with the other language at ``/language/NAME``, and
            with the page Compare.

    Returns:
        The ``gradio.Blocks``.

    Raises:
        InputError: An unknown language.
    """
    _silence_gradio()
    import gradio as gr

    from apps.web import chat, compare, summarize, translate, write, write_code
    from apps.web.answer import Page
    from apps.web.theme import header_html, model_html

    if language not in LANGUAGES:
        raise InputError("web_language_unknown", found=language, known=LANGUAGES)
    t = Strings(language)
    shared = session is not None
    session = session or Session(model, partial(load_engine, model, adapter, **(options or {})))

    def state() -> Iterator[str]:
        while not session.wait(1.0):
            yield model_html(session.reference, adapter, "loading", t)
        if (error := session.error) is None:
            yield model_html(session.reference, adapter, "ready", t)
        else:
            assert isinstance(error, CinquainError)
            yield model_html(session.reference, adapter, "failed", t, sentence(error, language))

    with gr.Blocks(title="Cinquain", analytics_enabled=False, fill_width=True) as demo:
        gr.HTML(header_html(t, switch=switch), elem_id="header", padding=False)
        page = Page(session, t, chat.stored())
        about = gr.HTML(model_html(session.reference, adapter, "loading", t), elem_id="model", padding=False)
        with gr.Tabs(elem_id="pages"):
            for name, module in zip(PAGES, (translate, summarize, chat, write_code, write), strict=True):
                if name in pages:
                    with gr.Tab(t(f"{name}.tab"), id=name, elem_id=f"tab-{name}"):
                        module.build(page)
            if switch:
                with gr.Tab(t("compare.tab"), id="compare", elem_id="tab-compare"):
                    compare.build(page)
        demo.load(None, None, None, js=_ON_LOAD % t("app.tag"))
        demo.load(state, None, about, api_visibility="private", show_progress="hidden", concurrency_limit=None)
    demo.queue(max_size=2 * MOST, default_concurrency_limit=4)
    if not shared and is_zero_gpu():
        session.on_gpu = on_gpu(session)
        session.load()  # in this process, before it is forked for requests
    elif not shared:
        session.start()  # last, so that importing torch does not compete with building the page
    return demo


def launch(
    model: str = DEFAULT_MODEL,
    adapter: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    language: str = "en",
    auth: tuple[str, str] | None = None,
    engine: Engine | None = None,
    options: dict[str, Any] | None = None,
) -> "Served":
    """Serve the app, in both languages, until ``close`` of what it returns, or this program, ends it.

    Args:
        model: Model reference.
        adapter: Folder of a LoRA adapter.
        host: Address to serve on; another than this machine's own needs ``auth``.
        port: TCP port.
        language: For browsers that want neither ``en`` nor ``zh``.
        auth: User and password.
        engine: A loaded engine to use instead of loading ``model``.
        options: Options of the engine that is loaded.

    Raises:
        InputError: Another host without a password, a port that is taken or forbidden, an unknown language or model.
    """
    from apps.web.serving import serve

    if language not in LANGUAGES:
        raise InputError("web_language_unknown", found=language, known=LANGUAGES)
    if engine is None and model != "scripted":
        from pipelines.models import resolve, resolve_adapter

        # A wrong name or a missing download is said here, in the terminal, before a page opens.
        if "://" in model:
            engine = load_engine(model, adapter, **(options or {}))
        else:
            model = resolve(model).reference  # of ``auto`` the one that was chosen
            if adapter is not None:
                resolve_adapter(adapter)
    load: Callable[[], Engine] = (lambda: engine) if engine else partial(load_engine, model, adapter, **(options or {}))
    session = Session(engine.reference if engine else model, load)
    return serve(session, adapter=adapter, host=host, port=port, language=language, auth=auth)


def _silence_gradio() -> None:
    """Gradio reads these when it is imported or builds a page, so they must be set before."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
