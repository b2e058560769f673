"""Chromium at the web app, and the app on a scripted engine."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from apps.web import launch
from pipelines.engines.base import Call, Engine
from tests.doubles.ports import free_port

__all__ = ["FIRST_FIELD", "Visit", "browser", "reply", "serving", "visiting"]

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-extensions",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
]
REPLIES = {
    "translation": "Bonjour.",
    "summarization": "The mill closed.",
    "dialogue": "Hello to you.",
    "code_generation": "```python\ndef add(a, b):\n    return a + b\n```",
    "creative_writing": "Snow on the roof\nand no sound.",
}
FIRST_FIELD = {
    "translate": "text",
    "summarize": "text",
    "chat": "message",
    "write_code": "instruction",
    "write": "brief",
}


@contextmanager
def browser(require: Callable[[str], str]) -> Iterator[Any]:
    """Chromium, without a window."""
    from playwright.sync_api import expect, sync_playwright

    path = require("chromium")
    expect.set_options(timeout=20_000)  # browser, server and model share the cores of a small machine
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """A page and what it did behind the scenes."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.hosts: set[str] = set()
        self.problems: list[str] = []
        page.on("request", lambda request: self._saw(request.url))
        page.on("websocket", lambda socket: self._saw(socket.url))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.goto(address, wait_until="domcontentloaded")
        self.expect("#translate-run").to_be_visible(timeout=30_000)

    def _saw(self, url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob"):
            self.hosts.add(str(urlsplit(url).hostname))

    def expect(self, selector: str) -> Any:
        from playwright.sync_api import expect

        return expect(self.page.locator(selector))

    def open(self, name: str) -> None:
        tab = self.page.locator(f"#tab-{name}-button")
        if tab.is_visible():
            tab.click()
        self.expect(f"#{name}-run").to_be_visible()

    def write(self, name: str, text: str) -> None:
        self.page.locator(f"#{name}-{FIRST_FIELD[name]} textarea").fill(text)

    def run(self, name: str, text: str) -> None:
        """Open a tab, fill its first field, run it, and wait for its end."""
        self.open(name)
        self.write(name, text)
        self.page.locator(f"#{name}-run").click()
        if name == "chat":  # the line about the turn before is there until this one has begun
            self.expect("#chat-conversation").to_contain_text(text)
        self.ended(name)

    def ended(self, name: str) -> None:
        self.expect(f"#{name}-status").to_contain_text(re.compile("tokens in|用时"), timeout=120_000)
        self.expect(f"#{name}-run").to_be_enabled()
        self.expect(f"#{name}-stop").to_be_hidden()

    def result(self, name: str) -> str:
        if name == "chat":
            bubbles = self.page.locator("#chat-conversation .bot .message-content, #chat-conversation .message.bot")
            return str(bubbles.last.inner_text())
        if name == "write_code":
            return str(self.page.locator("#write_code-result .cm-content").inner_text())
        return str(self.page.locator(f"#{name}-result textarea").input_value())


@contextmanager
def serving(engine: Engine, language: str = "en") -> Iterator[str]:
    served = launch(engine=engine, port=free_port())
    try:
        yield f"{served.address}/{language}"
    finally:
        served.close()


@contextmanager
def visiting(chromium: Any, address: str, **options: Any) -> Iterator[Visit]:
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    try:
        yield Visit(context.new_page(), address)
    finally:
        context.close()


def reply(call: Call) -> str:
    question = call.messages[-1]["content"]
    if "crash" in question:
        raise RuntimeError("the engine broke")
    return REPLIES[call.task]
