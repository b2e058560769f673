"""``cinquain eval compare`` and ``report``: verdicts on the terminal, files that are private where they hold texts."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from apps.cli.main import main
from eval.benchmarks import load_benchmark
from eval.records import Run
from tests.doubles.eval_runs import degraded, finished_run, sentences

HOSTILE = "\x1b]0;owned\x07\x1b[31mred"


@pytest.fixture(autouse=True)
def _language(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def benchmark() -> str:
    """A benchmark of one's own, as a file in the working folder."""
    lines = [
        {"task": "translation", "text": f"QUELLE {number}", "target": "en", "reply": text}
        for number, text in enumerate(sentences(30))
    ]
    Path("own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return "own.jsonl"


@pytest.fixture
def runs(benchmark: str) -> tuple[Run, Run]:
    """A worse and a better run of it."""
    own, texts = load_benchmark(benchmark), sentences(30)
    worse = [f"{text} {HOSTILE}" for text in degraded(texts, 0.5)]
    return (
        finished_run(own, worse, Path("worse"), "models/worse"),
        finished_run(own, degraded(texts, 0.1), Path("better"), "models/better"),
    )


def test_compare_says_which_is_better_and_shows_the_words(
    runs: tuple[Run, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "compare", "worse", "better", "-b", "own.jsonl", "--rows", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("better against worse\nBetter: on 30 rows chrF++ went from ")
    assert re.search(r"\nBLEU ↑ +\d+\.\d\d  →  \d+\.\d\d  \+\d+\.\d\d  \[\+.+, \+.+\]  p 0\.\d+  better\n", printed)
    assert re.search(r"\nempty ↓ +0\.00  →  +0\.00  .* +p 1  cannot tell\n", printed)
    assert "rows became better and" in printed
    assert printed.count("\n- ") == printed.count("\n+ ") == 2
    assert "⟦xqz⟧" in printed
    assert "\x1b" not in printed
    assert "owned" not in printed


def test_compare_speaks_chinese_and_json(runs: tuple[Run, Run], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "compare", "worse", "better", "-b", "own.jsonl", "--lang", "zh"]) == 0
    assert "更好：在 30 行上" in capsys.readouterr().out
    assert main(["eval", "compare", "worse", "better", "-b", "own.jsonl", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert found["metrics"][0]["verdict"] == "better"


def test_what_cannot_be_compared_is_one_sentence(runs: tuple[Run, Run], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "compare", "worse", "-b", "own.jsonl"]) == 2
    assert "two runs" in capsys.readouterr().err
    assert main(["eval", "compare", "worse", "better"]) == 2
    assert "--benchmark FILE" in capsys.readouterr().err
    assert main(["eval", "compare", "worse", "missing", "-b", "own.jsonl"]) == 2
    assert "missing" in capsys.readouterr().err
    rows = Path("own.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    Path("own.jsonl").write_text("".join([rows[1], rows[0], *rows[2:]]), encoding="utf-8")
    assert main(["eval", "compare", "worse", "better", "-b", "own.jsonl"]) == 2
    assert "Run the benchmark again" in capsys.readouterr().err


def test_a_page_with_texts_is_private_and_one_without_is_not(
    runs: tuple[Run, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "report", "worse", "better", "-b", "own.jsonl"]) == 0
    assert "readable by you only" in capsys.readouterr().err.replace("\n", " ")
    page = Path("report.html")
    assert page.stat().st_mode & 0o777 == 0o600
    assert "QUELLE" in page.read_text(encoding="utf-8")
    assert main(["eval", "report", "worse", "better", "-b", "own.jsonl", "--no-texts", "-o", "public.html"]) == 0
    assert Path("public.html").stat().st_mode == Path("own.jsonl").stat().st_mode
    assert "QUELLE" not in Path("public.html").read_text(encoding="utf-8")
    assert main(["eval", "report", "worse", "-b", "own.jsonl", "-o", "report.json"]) == 0
    assert Path("report.json").stat().st_mode & 0o777 == 0o600


def test_the_command_in_a_report_makes_it_again(runs: tuple[Run, Run]) -> None:
    assert main(["eval", "report", "worse", "better", "-b", "own.jsonl", "--out", "report.md"]) == 0
    first = Path("report.md").read_text(encoding="utf-8")
    command = next(line for line in first.splitlines() if line.startswith("cinquain eval report"))
    Path("report.md").unlink()
    assert main(shlex.split(command)[1:]) == 0
    assert Path("report.md").read_text(encoding="utf-8") == first


def test_formats_follow_the_name_of_the_file_or_the_option(
    runs: tuple[Run, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "report", "better", "-b", "own.jsonl", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["benchmark"] == "own"
    assert main(["eval", "report", "better", "-b", "own.jsonl", "-f", "yaml", "--dataset", "org/own"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)[0]["dataset"] == {"id": "org/own", "task_id": "own"}
    assert main(["eval", "report", "better", "-b", "own.jsonl", "-f", "yaml"]) == 2
    assert "--dataset" in capsys.readouterr().err
    assert main(["eval", "report", "better", "-b", "own.jsonl", "-f", "pdf"]) == 2
    assert "pdf" in capsys.readouterr().err
    assert main(["eval", "report", "better", "-b", "own.jsonl", "-o", "no/such/folder.html"]) == 2


def test_a_run_of_a_benchmark_that_ships_is_reported_from_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["eval", "run", "--benchmark", "smoke-code-generation", "--model", "scripted", "--limit", "3", "--quiet"]
    assert main([*command, "--out", "results"]) == 0
    (folder,) = Path("results").iterdir()
    capsys.readouterr()
    assert main(["eval", "report", str(folder), "-f", "markdown"]) == 0
    printed = capsys.readouterr().out
    assert "## scripted: smoke-code-generation@2" in printed
    assert "Only 3 of the 24 rows" in printed
    assert "cinquain eval run --benchmark smoke-code-generation --model scripted --limit 3" in printed
