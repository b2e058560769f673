"""The app as a person meets it, in Chromium: the five tasks, what goes wrong, what it looks like."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.web import launch
from pipelines.engines.base import Call
from pipelines.engines.scripted import ScriptedEngine
from tests.doubles.browsing import FIRST_FIELD, browser, reply, serving, visiting
from tests.doubles.ports import free_port

pytestmark = pytest.mark.browser

PROBE = (
    "<img src=x onerror=\"window.hit='image'\"><script>window.hit='script'</script>"
    "[click](javascript:window.hit='link') ![](http://127.0.0.1:{sink}/leak.png) <iframe src='http://127.0.0.1:{sink}/'>"
)


@pytest.fixture(scope="module")
def chromium(require: Callable[[str], str]) -> Iterator[Any]:
    with browser(require) as started:
        yield started


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
