"""The app in Chromium, beyond a task: languages, chats that last, comparing, keys, and people who see badly."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.engines.scripted import ScriptedEngine
from tests.doubles.browsing import FIRST_FIELD, browser, reply, serving, visiting

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium(require: Callable[[str], str]) -> Iterator[Any]:
    with browser(require) as started:
        yield started


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(ScriptedEngine(reply)) as address:
        yield address


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
