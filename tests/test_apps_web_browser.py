"""The app as a person meets it, in Chromium."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from apps.web import launch
from pipelines.engines.base import Call, Engine
from pipelines.engines.scripted import ScriptedEngine
from tests.doubles.ports import free_port

pytestmark = pytest.mark.browser

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
PROBE = (
    "<img src=x onerror=\"window.hit='image'\"><script>window.hit='script'</script>"
    "[click](javascript:window.hit='link') ![](http://127.0.0.1:{sink}/leak.png) <iframe src='http://127.0.0.1:{sink}/'>"
)


@pytest.fixture(scope="module")
def chromium(require: Callable[[str], str]) -> Iterator[Any]:
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


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(ScriptedEngine(reply)) as address:
        yield address


@pytest.mark.model
def test_the_embedded_model_does_the_five_tasks_and_no_request_leaves_the_machine(
    chromium: Any, embedded_model: Path, artifacts: Path
) -> None:
    from pipelines import DEFAULT_MODEL

    served = launch(DEFAULT_MODEL, port=free_port())
    texts = {
        "translate": "Good morning. Where is the train station?",
        "summarize": "The council voted to close Mill Street to cars. Shop owners had feared losing customers. "
        "A trial last summer raised sales by 8 percent.",
        "chat": "What is gravity?",
        "write_code": "Return the sum of two numbers.",
        "write": "the first snow of the year",
    }
    try:
        with visiting(chromium, f"{served.address}/en") as visit:
            visit.expect("#model .ready").to_be_visible(timeout=60_000)
            for name, text in texts.items():
                visit.open(name)
                visit.page.locator(f"#{name}-settings button").first.click()
                visit.page.locator(f"#{name}-max-new-tokens input[type=number]").fill("32")
                visit.page.locator(f"#{name}-max-new-tokens input[type=number]").press("Tab")
                visit.page.locator(f"#{name}-settings button").first.click()
                visit.run(name, text)
                assert visit.result(name).strip(), name
                visit.expect(f"#{name}-status").not_to_have_text(re.compile("seed 0$"))  # an empty seed is drawn
                visit.page.screenshot(path=artifacts / f"web-{name}.png")
            assert visit.hosts == {"127.0.0.1"}
            assert visit.problems == []
    finally:
        served.close()


def test_the_language_follows_the_browser_and_a_choice_is_remembered(chromium: Any, address: str) -> None:
    root = address.removesuffix("en")
    with visiting(chromium, root, locale="zh-CN") as visit:
        visit.expect("#translate-run").to_have_text("翻译")
        assert visit.page.url == f"{root}zh/"
        visit.page.wait_for_function("document.documentElement.lang === 'zh-CN'")
        visit.page.get_by_role("link", name="English").click()
        visit.expect("#translate-run").to_have_text("Translate")
        visit.page.goto(root)
        visit.expect("#translate-run").to_have_text("Translate")
        visit.run("translate", "Good day.")
        assert visit.result("translate") == "Bonjour."
        assert visit.hosts == {"127.0.0.1"}
        assert visit.problems == []


def test_a_chat_survives_a_reload_branches_and_comes_back(chromium: Any, address: str, artifacts: Path) -> None:
    with visiting(chromium, address) as visit:
        visit.run("chat", "Who are you?")
        visit.run("chat", "And what is rain?")
        visit.expect("#chat-status").to_contain_text(re.compile(r"context [\d,]+ of [\d,]+ tokens"))
        visit.page.reload()
        visit.expect("#model .ready").to_be_visible()  # the page is alive, and its tabs can be opened
        visit.open("chat")
        visit.expect("#chat-conversation").to_contain_text("And what is rain?")
        visit.page.locator("#chat-conversation .user").last.hover()
        visit.page.locator("#chat-conversation button[aria-label='Edit']").last.click()
        visit.page.locator("#chat-conversation textarea").fill("And what is snow?")
        visit.page.locator("#chat-conversation button[aria-label='Submit']").click()
        visit.expect("#chat-message textarea").to_have_value("And what is snow?")
        visit.expect("#chat-conversation").not_to_contain_text("rain")
        visit.page.locator("#chat-run").click()
        visit.expect("#chat-conversation").to_contain_text("And what is snow?")
        visit.ended("chat")
        visit.page.screenshot(path=artifacts / "web-chat-branch.png")
        visit.page.locator("#chat-earlier input").click()
        visit.page.get_by_role("option", name="Who are you?").click()
        visit.expect("#chat-conversation").to_contain_text("And what is rain?")
        with visit.page.expect_download() as download:
            visit.page.locator("#chat-markdown").click()
        assert "And what is rain?" in Path(download.value.path()).read_text(encoding="utf-8")
        assert download.value.suggested_filename == "conversation.md"
        assert visit.problems == []


def test_two_settings_are_compared_and_voted_on(chromium: Any, artifacts: Path) -> None:
    engine = ScriptedEngine(["Snow on the roof.", "Rain on the roof."] * 2)
    with serving(engine) as address, visiting(chromium, address) as visit:
        visit.page.locator("#tab-compare-button").click()
        visit.page.locator("#compare-text textarea").fill("Write a line.")
        visit.page.locator("#compare-run").click()
        visit.expect("#compare-right textarea").to_have_value("Rain on the roof.")
        visit.expect("#compare-left textarea").to_have_value("Snow on the roof.")
        visit.expect("#compare-diff").to_contain_text("on the roof.")
        visit.page.locator("#compare-vote-right").click()
        visit.expect("#compare-tally").to_contain_text("A 0, B 1")
        visit.expect("#compare-vote-left").to_be_disabled()
        visit.page.screenshot(path=artifacts / "web-compare.png", full_page=True)
        visit.page.locator("#compare-blind input").check()
        visit.page.locator("#compare-run").click()
        visit.expect("#compare-vote-left").to_be_enabled()
        visit.expect("#compare-status").to_have_text("")
        visit.page.locator("#compare-vote-equal").click()
        visit.expect("#compare-tally").to_contain_text(re.compile("Left was: Setting [AB].*equal 1"))
        assert visit.problems == []


def test_keys_run_and_stop(chromium: Any) -> None:
    pace = threading.Event()
    engine = ScriptedEngine(["word " * 3000], on_token=lambda: pace.wait(0.05) and None)
    with serving(engine) as address, visiting(chromium, address) as visit:
        visit.write("translate", "Good day.")
        visit.page.keyboard.press("Control+Enter")
        visit.expect("#translate-stop").to_be_visible()
        visit.expect("#translate-result textarea").to_have_value(re.compile("word"))
        visit.page.keyboard.press("Escape")
        visit.expect("#translate-stop").to_be_hidden()
        visit.expect("#translate-status").to_contain_text("tokens in")


@pytest.mark.parametrize("colors", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_can_be_used_by_everybody(chromium: Any, address: str, colors: str, language: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    rules = {"runOnly": ["wcag2a", "wcag2aa"], "resultTypes": ["violations"]}
    with visiting(chromium, f"{address.removesuffix('en')}{language}", color_scheme=colors) as visit:
        for name in FIRST_FIELD:
            visit.run(name, "snow")
            for _ in range(5):  # what fades in has too little contrast until it is there
                found = Axe().run(visit.page, options=rules).response["violations"]
                told = [(each["id"], node["html"][:150]) for each in found for node in each["nodes"]]
                wrong = [each for each in told if ".cm-" not in each[1] and "ͼ" not in each[1]]  # colours of code
                if not wrong:
                    break
            assert wrong == [], name


def test_hostile_output_stays_text_and_calls_nobody(chromium: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sink:  # another origin: whoever connects was sent by the reply
        sink.settimeout(0)
        engine = ScriptedEngine([PROBE.format(sink=sink.getsockname()[1])])
        with serving(engine) as address, visiting(chromium, address) as visit:
            for name in FIRST_FIELD:
                visit.run(name, "Go.")
            visit.expect("#write-result textarea").to_have_value(re.compile("<img src=x"))
            visit.open("chat")
            visit.expect("#chat-conversation").to_contain_text("click")
            assert visit.page.evaluate("window.hit") is None
            assert visit.page.locator("#chat-conversation iframe, #chat-conversation script").count() == 0
            assert visit.page.locator("#chat-conversation a[href^='javascript']").count() == 0
        with pytest.raises(BlockingIOError):
            sink.accept()


def test_stop_stops_the_model_and_the_next_request_works(chromium: Any) -> None:
    pace = threading.Event()  # never set: waiting for it paces the tokens
    engine = ScriptedEngine(["word " * 3000], on_token=lambda: pace.wait(0.05) and None)
    with serving(engine) as address, visiting(chromium, address) as visit:
        visit.open("chat")
        visit.write("chat", "Go on for ever.")
        visit.page.locator("#chat-message textarea").press("Enter")
        visit.expect("#chat-conversation").to_contain_text("word word word", timeout=20_000)
        visit.expect("#chat-retry").to_be_disabled()
        visit.page.locator("#chat-stop").click()
        visit.ended("chat")
        visit.expect("#chat-notes").to_contain_text("Stopped on request")
        visit.expect("#chat-retry").to_be_enabled()
        assert not engine._lock.locked()
        engine._on_token = None
        engine._script = ["Done."]
        visit.run("translate", "Good day.")
        assert visit.result("translate") == "Done."


def test_closing_the_tab_frees_the_model(chromium: Any) -> None:
    pace, freed = threading.Event(), threading.Event()

    class Watched(ScriptedEngine):
        def stream(self, call: Call, cancel: threading.Event | None = None) -> Any:
            try:
                yield from super().stream(call, cancel)
            finally:
                freed.set()

    with serving(Watched(["word " * 3000], on_token=lambda: pace.wait(0.05) and None)) as address:
        with visiting(chromium, address) as visit:
            visit.open("chat")
            visit.write("chat", "Go on for ever.")
            visit.page.locator("#chat-run").click()
            visit.expect("#chat-conversation").to_contain_text("word word", timeout=20_000)
        assert freed.wait(20)


def test_errors_are_toasts_and_leave_the_page_usable(chromium: Any, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.page.locator("#translate-run").click()
        visit.expect("#translate-text").to_contain_text("Write something here first.")
        visit.page.locator("#translate-more button").first.click()
        visit.expect("#translate-glossary textarea").to_be_visible()
        visit.run("translate", "Good day.")  # what is filled in while the folded part still unfolds would be lost
        visit.page.locator("#translate-glossary textarea").fill("nonsense")
        visit.page.locator("#translate-run").click()
        visit.expect("[data-testid=toast-body]").to_contain_text("Line 1 of the glossary")
        visit.expect("#translate-run").to_be_enabled()
        visit.page.locator("#translate-glossary textarea").fill("")
        visit.run("translate", "Good day.")
        assert visit.result("translate") == "Bonjour."
        visit.open("chat")
        visit.write("chat", "Please crash.")
        visit.page.locator("#chat-run").click()
        visit.expect("[data-testid=toast-body]").to_contain_text("the engine broke")
        visit.expect("#chat-message textarea").to_have_value("Please crash.")
        visit.run("chat", "Hello.")
        assert "Hello to you." in visit.result("chat")


def test_a_conversation_is_undone_retried_saved_and_opened(chromium: Any, address: str, tmp_path: Path) -> None:
    with visiting(chromium, address) as visit:
        visit.run("chat", "First.")
        visit.run("chat", "Second.")
        visit.page.locator("#chat-undo").click()
        visit.expect("#chat-message textarea").to_have_value("Second.")
        visit.page.locator("#chat-retry").click()
        visit.expect("#chat-message textarea").to_have_value("")
        visit.ended("chat")
        with visit.page.expect_download() as download:
            visit.page.locator("#chat-export").click()
        file = tmp_path / "conversation.json"
        download.value.save_as(file)
        assert '"First."' in file.read_text("utf-8")
        visit.page.locator("#chat-clear").click()
        visit.expect("#chat-conversation").not_to_contain_text("First.")
        visit.page.locator("#chat-import").locator("xpath=..").locator("input[type=file]").set_input_files(file)
        visit.expect("#chat-conversation").to_contain_text("First.")
        assert visit.problems == []


def test_an_example_fills_the_form(chromium: Any, address: str) -> None:
    with visiting(chromium, address) as visit:
        visit.page.get_by_text("Good morning. Where is the train station?").click()
        visit.expect("#translate-text textarea").to_have_value("Good morning. Where is the train station?")


def test_the_chinese_page_is_chinese(chromium: Any, artifacts: Path) -> None:
    with serving(ScriptedEngine(reply), "zh") as address, visiting(chromium, address, locale="zh-CN") as visit:
        for name in FIRST_FIELD:
            visit.run(name, "你好。")
            shown = "label > span, button:not([id$=-examples] button), [data-testid=block-info], .status, .limits"
            words = visit.page.locator("#pages").locator(shown).filter(visible=True).all_inner_texts()
            for text in {word.strip() for word in words} - {"", "Python", "Top-p"}:
                assert re.search("[\u4e00-\u9fff]", text) or not re.search("[A-Za-z]{3}", text), (name, text)
            visit.page.screenshot(path=artifacts / f"web-zh-{name}.png")


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1280, "dark")])
def test_the_page_fits_the_screen(chromium: Any, address: str, artifacts: Path, width: int, theme: str) -> None:
    viewport = {"width": width, "height": 900}
    with visiting(chromium, f"{address}/?__theme={theme}", viewport=viewport) as visit:
        visit.run("translate", "Good day.")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        visit.page.screenshot(path=artifacts / f"web-{theme}-{width}.png", full_page=True)
