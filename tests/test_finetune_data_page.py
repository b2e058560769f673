"""The page of a ledger: readable, whole in itself, and deaf to what hostile rows say."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.ledger import STEPS, Ledger, SourceEntry, SplitEntry, StepEntry
from finetune.data.page import render
from pipelines.wording import sentences

HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></details><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "&lt;b&gt;",
    "javascript:alert(1)",
]


class Elements(HTMLParser):
    """Every element of a page with its attributes, and all of its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """Elements and the names of their attributes: what a text must not change."""
        return [(tag, tuple(attributes)) for tag, attributes in self.found]


def ledger_of(text: str) -> Ledger:
    """A ledger with a text in every place that a stranger can write to."""
    step = StepEntry(entered=1234, left=1233)
    step.dropped[text] += 1
    step.changes[text] += 2
    return Ledger(
        "dialogue",
        steps={"lengths": step},
        sources=[SourceEntry(text, text, text, text, read=1234, kept=1233)],
        splits={"train": SplitEntry(rows=1233, tokens=5)},
        tokens={"before": 6, "after": 5, "model": text, "max_tokens": None, "over_long": 3, "eos_lost_share": 0.125},
        lengths={"64": 1233},
        languages={text: 3, "und": 1},
        config={"path": text},
        provenance={"command": [text]},
    )


def samples_of(text: str) -> dict[str, list[dict[str, object]]]:
    return {f"lengths.{text}": [{"id": text, "before": text, "after": text, "details": {text: [text]}}]}


@given(st.one_of(st.sampled_from(HOSTILE), st.text(), st.text(alphabet="<>&\"'/ =scriptonload{}%")))
def test_texts_of_strangers_are_texts(text: str) -> None:
    page = Elements(render(ledger_of(text), samples_of(text)))
    plain = Elements(render(ledger_of("x"), samples_of("x")))
    assert page.shape() == plain.shape()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_person_reads_what_stands_there(text: str) -> None:
    assert Elements(render(ledger_of(text), samples_of(text))).text.count(text) >= 8


def test_nothing_is_fetched_and_nothing_runs() -> None:
    page = render(ledger_of("x"), samples_of("x"))
    tags = {tag for tag, _ in Elements(page).found}
    assert not tags & {"script", "link", "img", "iframe", "object", "form", "base", "a"}
    names = {name for _, attributes in Elements(page).found for name in attributes}
    assert not names & {"src", "href", "style"} | {name for name in names if name.startswith("on")}
    assert "url(" not in page
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_a_newcomer_finds_the_numbers_and_what_they_mean() -> None:
    text = Elements(render(ledger_of("reply_empty"), samples_of("reply_empty"))).text
    for words in ("1,234 records were read", "1,233 rows were written", "There is no reply to learn.", "12.50 %"):
        assert words in text
    chinese = Elements(render(ledger_of("reply_empty"), {}, "zh-CN")).text
    assert "读取了 1,234 条记录" in chinese
    assert "records were read" not in chinese


def test_every_step_is_explained() -> None:
    assert {f"data_means_{name}" for name in STEPS} <= set(sentences())


@pytest.mark.browser
def test_a_browser_shows_it_without_a_complaint(require: Callable[[str], str], tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    path = tmp_path / "ledger.html"
    path.write_text(render(ledger_of(HOSTILE[1]), samples_of(HOSTILE[0])), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(path.as_uri())
        assert page.evaluate("getComputedStyle(document.querySelector('table')).borderCollapse") == "collapse"
        browser.close()
    assert said == []
