"""``cinquain ui``: the web app on this machine."""

import threading
import webbrowser
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps.cli.run import Adapter, EngineOptions, Model, parse_engine_options
from apps.cli.terminal import Language, console, interruptible, language, say

if TYPE_CHECKING:
    from pipelines.engines import Engine

__all__ = ["app", "serve"]

app = typer.Typer(add_completion=False)


@app.command()
def ui(
    model: Model = None,
    adapter: Adapter = None,
    engine: EngineOptions = None,
    host: Annotated[
        str, typer.Option(help="Address to serve on; only this machine can reach 127.0.0.1.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on.")] = 7860,
    auth: Annotated[
        str | None,
        typer.Option(
            "--auth", metavar="VARIABLE", help="Ask for the USER:PASSWORD that this environment variable holds."
        ),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    lang: Language = None,
) -> int:
    """Serve the web app and print its address."""
    from apps.web.serving import credentials

    known = credentials(auth) if auth else None
    options = parse_engine_options(engine)
    return serve(model, adapter, host, port, auth=known, open_browser=open_browser, options=options)


def serve(
    model: str | None,
    adapter: str | None,
    host: str,
    port: int,
    *,
    auth: tuple[str, str] | None = None,
    open_browser: bool = False,
    engine: "Engine | None" = None,
    options: dict[str, Any] | None = None,
) -> int:
    """Serve the web app until Ctrl-C.

    Args:
        model: Model reference, or None for the embedded one.
        adapter: Folder of an adapter.
        host: Address to serve on.
        port: Port to serve on.
        auth: User and password.
        open_browser: Open the page in the person's browser.
        engine: A loaded engine to use instead of loading ``model``.
        options: Options of the engine.

    Raises:
        InputError: The port is taken, the address is refused, or the model cannot be loaded.
    """
    from pipelines import DEFAULT_MODEL

    console(stderr=True).print(say("ui_starting", model=model or DEFAULT_MODEL), style="dim", soft_wrap=True)
    from apps.web import launch

    served = launch(
        model or DEFAULT_MODEL,
        adapter,
        host=host,
        port=port,
        language=language(),
        auth=auth,
        engine=engine,
        options=options,
    )
    console().print(say("ui_ready", address=served.address), soft_wrap=True)
    if open_browser:
        webbrowser.open(served.address)
    ended = threading.Event()
    with interruptible(ended):
        while not ended.wait(0.2):  # without a limit, Windows would not let Ctrl-C through
            pass
    served.close()
    return 0
