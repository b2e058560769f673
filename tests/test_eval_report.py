"""Reports: numbers with their provenance in four formats, and a page that is deaf to what hostile models say."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval.benchmarks import Benchmark
from eval.costs import summary
from eval.page import render
from eval.records import Record, Run
from eval.report import Report, hub_yaml, labels, markdown, report, to_json
from pipelines.errors import InputError
from pipelines.wording import sentences as wordings
from tests.doubles.eval_runs import degraded, finished_run, sentences, translation

HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></details><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "&lt;b&gt;",
    "javascript:alert(1)",
]
COMMAND = ["cinquain", "eval", "report", "runs/one two", "--out", "report.html"]


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


def hostile_report(text: str) -> Report:
    """Two runs with a text in every place that a stranger can write to."""
    benchmark = translation(2, metrics=("empty",), name=text, remarks=text, licence=text, origin=text)
    rows = tuple(
        replace(row, id=f"{text}{number}", request={"text": text, "target": "en"}, references=("A good reply.",))
        for number, row in enumerate(benchmark.rows)
    )
    benchmark = replace(benchmark, rows=(rows[0], replace(rows[1], kind=text)))

    def run_of(name: str, replies: tuple[str, str]) -> Run:
        records = tuple(Record(row.id, reply, seconds=1.0) for row, reply in zip(benchmark.rows, replies, strict=True))
        provenance = {"engine": {"model": f"{name}{text}", "adapter": text}, "command": text}
        costs = summary([], [1.0, 1.0], [])
        return Run(
            Path(name), text, 1, benchmark.sha256, "translation", {"key": text}, provenance, records, costs, rows=2
        )

    runs = [run_of("one", ("", "A good reply.")), run_of("two", (text, text))]
    return report(runs, lambda run: benchmark, ["cinquain", text])


def reported(tmp_path: Path, count: int = 40) -> tuple[Report, Benchmark]:
    benchmark = translation(count)
    texts = sentences(count)
    one = finished_run(benchmark, degraded(texts, 0.4), tmp_path / "one", "models/base")
    two = finished_run(benchmark, degraded(texts, 0.1), tmp_path / "two", "models/better")
    return report([one, two], lambda run: benchmark, COMMAND), benchmark


def without_marks(shape: list[tuple[str, tuple[str, ...]]]) -> list[tuple[str, tuple[str, ...]]]:
    """A shape without the pieces of diffs: how many there are depends on the words."""
    return [each for each in shape if each[0] != "mark"]


@cache
def plain_shape() -> list[tuple[str, tuple[str, ...]]]:
    return without_marks(Elements(render(hostile_report("☃x"))).shape())


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=25, deadline=None)
@given(
    st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1), st.text(alphabet="<>&\"'/ =scriptonload{}%", min_size=1))
)
def test_texts_of_strangers_are_texts(text: str) -> None:
    marked = Elements(render(hostile_report(f"☃{text}")))
    assert without_marks(marked.shape()) == plain_shape()
    assert {tuple(attributes) for tag, attributes in marked.found if tag == "mark"} <= {("class",)}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_person_reads_what_stands_there(text: str) -> None:
    assert Elements(render(hostile_report(text))).text.count(text) >= 8


def test_nothing_is_fetched_and_nothing_runs(tmp_path: Path) -> None:
    page = render(reported(tmp_path)[0])
    tags = {tag for tag, _ in Elements(page).found}
    assert "svg" in tags
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


def test_a_newcomer_finds_the_verdict_the_doubts_and_where_numbers_come_from(tmp_path: Path) -> None:
    found, benchmark = reported(tmp_path)
    text = Elements(render(found)).text
    for words in (
        "better against base",
        "Better: on 40 rows chrF++ went from",
        "cannot tell",
        "would show four times in five",
        "seconds for a row, 95 of 100 rows",
        "unknown",
        benchmark.sha256,
        "resampling.seed",
        "float32",
        "cinquain eval run --benchmark planted --model models/better",
        "cinquain eval report 'runs/one two' --out report.html",
        "QUELLE 1 ",
    ):
        assert words in text, words
    chinese = Elements(render(found, "zh-CN")).text
    assert "更好：在 40 行上" in chinese
    assert "cannot tell" not in chinese


def test_without_texts_only_numbers_are_left(tmp_path: Path) -> None:
    found, _ = reported(tmp_path)
    for content in (render(found, texts=False), json.dumps(to_json(found, texts=False)), markdown(found)):
        assert "QUELLE" not in content
        assert "xqz" not in content
        assert found.sections[0].benchmark.sha256 in content
    assert "xqz" in json.dumps(to_json(found))


def test_a_note_that_quotes_a_reference_does_not_in_public(tmp_path: Path) -> None:
    benchmark = translation(6, metrics=("rouge1",))
    rows = tuple(replace(row, references=("A confidential sentence.",)) for row in benchmark.rows)
    benchmark = replace(benchmark, rows=rows)
    found = report([finished_run(benchmark, ["a"] * 6, tmp_path / "run")], lambda _: benchmark, COMMAND)
    assert "metric_constant" in {note.code for note in found.sections[0].scores.notes}
    assert "confidential" in render(found)
    for content in (render(found, texts=False), json.dumps(to_json(found, texts=False)), markdown(found)):
        assert "confidential" not in content


def test_half_of_a_character_is_no_obstacle(tmp_path: Path) -> None:
    benchmark = translation(2, metrics=("chrf",))
    run = finished_run(benchmark, ["a \ud800 b", "\x00"], tmp_path / "run")
    page = render(report([run], lambda _: benchmark, COMMAND))
    page.encode()
    assert "a ? b" in Elements(page).text


def test_every_plot_lies_within_its_axis(tmp_path: Path) -> None:
    page = render(reported(tmp_path)[0])
    for x, width in re.findall(r'<rect class="(?:span|value|mark)" x="([^"]+)" y="\d" width="([^"]+)"', page):
        assert float(x) >= 0
        assert float(x) + float(width) <= 101.2


def test_every_cost_has_a_name() -> None:
    assert {f"eval_report_cost_{name}" for name in summary([], [], [])} <= set(wordings())


def test_markdown_holds_tables_that_texts_cannot_break(tmp_path: Path) -> None:
    text = markdown(reported(tmp_path)[0])
    assert re.search(r"\| chrF\+\+ ↑ \| \d+\.\d\d \| \[\d+\.\d\d, \d+\.\d\d\] \| 40 \| 0\.00 \| ", text)
    assert text.count("```") == 2
    assert "- Better: on 40 rows" in text
    hostile = markdown(hostile_report("a|b\n# <b>`c ![x](https://example.org)"))
    assert "](" not in hostile.replace("]\\(", "").partition("```bash")[0]
    for line in hostile.splitlines():
        assert not line.startswith("# ")
        if line.startswith("|") and not line.startswith("|--"):
            assert "<b>" not in line
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 5, 7)


def test_the_hub_reads_its_own_format_back(tmp_path: Path) -> None:
    from huggingface_hub import parse_eval_result_entries

    benchmark = translation(24)
    run = finished_run(benchmark, degraded(sentences(24), 0.3), tmp_path / "run")
    found = report([run], lambda _: benchmark, COMMAND)
    (entry,) = parse_eval_result_entries(yaml.safe_load(hub_yaml(found, "org/planted")))
    leading = found.sections[0].scores.metrics[0]
    assert (entry.dataset_id, entry.task_id, entry.date) == ("org/planted", "planted", "2026-01-02")
    assert entry.value == pytest.approx(leading.total.value, abs=1e-4)
    assert entry.notes is not None
    assert leading.signature in entry.notes
    for nothing in (None, "", "planted"):
        with pytest.raises(InputError, match="--dataset"):
            hub_yaml(found, nothing)
    with pytest.raises(InputError, match="one model"):
        hub_yaml(reported(tmp_path / "two")[0], "org/planted")


def test_json_is_strict_and_whole(tmp_path: Path) -> None:
    found, benchmark = reported(tmp_path)
    data: dict[str, Any] = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert [run["benchmark_sha256"] for run in data["runs"]] == [benchmark.sha256] * 2
    assert len(data["runs"][0]["records"]) == 40
    assert data["comparisons"][0]["metrics"][0]["verdict"] == "better"
    assert data["commands"][-1] == "cinquain eval report 'runs/one two' --out report.html"


def test_runs_of_one_model_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    benchmark = translation(2)
    runs = [finished_run(benchmark, ["a", "b"], tmp_path / name) for name in ("run-aaaaaa", "run-bbbbbb")]
    assert labels(runs) == ["one (aaaaaa)", "one (bbbbbb)"]
    assert labels(runs[:1]) == ["one"]


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1100, "light")])
def test_a_browser_shows_it_without_a_complaint(
    require: Callable[[str], str], tmp_path: Path, width: int, scheme: Any
) -> None:
    from playwright.sync_api import sync_playwright

    path = tmp_path / "report.html"
    path.write_text(render(hostile_report(HOSTILE[1])), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(path.as_uri())
        assert page.evaluate("getComputedStyle(document.querySelector('table')).borderCollapse") == "collapse"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.querySelector('svg.axis').getBoundingClientRect().width") > 100
        page.screenshot(path=tmp_path / f"report-{width}-{scheme}.png", full_page=True)
        browser.close()
    assert said == []


def test_a_report_says_whether_the_rows_were_trained_on(tmp_path: Path) -> None:
    benchmark = translation(6)
    run = finished_run(benchmark, degraded(sentences(6), 0.4), tmp_path / "one", "models/base")
    row = {"request": benchmark.rows[0].request, "reply": benchmark.rows[0].references[0]}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ledger.json").write_text('{"result_sha256": "abcdef0123456789"}')
    (tmp_path / "data" / "train.jsonl").write_text(json.dumps(row) + "\n")
    found = report([run], lambda run: benchmark, COMMAND, [tmp_path / "data"])
    note = found.sections[0].scores.notes[0]
    assert note.code == "eval_contaminated"
    assert benchmark.rows[0].id in note.parameters["ids"]
    assert "training rows of data (abcdef012345…)" in markdown(found)
    assert "training rows of data (abcdef012345…)" in Elements(render(found)).text
    (entry,) = to_json(found)["runs"][0]["contamination"]
    assert (entry["trained"], entry["total"]) == (1, 6)
