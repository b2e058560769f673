"""``cinquain eval audit``: the report in three forms, the command that repeats it, and going on after ``kill -9``."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apps.cli.main import main
from eval.records import load_run

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def command(folder: Path, *more: str) -> list[str]:
    out = ["--out", str(folder / "results"), "--report", str(folder / "audit.html")]
    return ["eval", "audit", "--model", "scripted", *out, *more]


def test_a_page_appears_and_the_terminal_shows_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path)) == 0
    shown = capsys.readouterr()
    assert "Harmful requests that were refused" in shown.out
    assert "readable by you only" in shown.err
    page = tmp_path / "audit.html"
    assert page.stat().st_mode & 0o077 == 0
    assert "Honesty: does it admit what it cannot know?" in page.read_text(encoding="utf-8")


def test_the_command_in_the_report_repeats_it(tmp_path: Path) -> None:
    report = tmp_path / "audit.json"
    words = ["--part", "unanswerable", "--report", str(report), "-e", "context_length=900", "--no-texts", "--quiet"]
    assert main(command(tmp_path, *words)) == 0
    first = json.loads(report.read_text(encoding="utf-8"))
    again = first["command"].split()[1:]
    report.unlink()
    folders = sorted((tmp_path / "results").iterdir())
    assert main([*again, "--quiet"]) == 0
    assert json.loads(report.read_text(encoding="utf-8")) == first
    assert sorted((tmp_path / "results").iterdir()) == folders  # nothing was asked anew


def test_markdown_in_chinese(tmp_path: Path) -> None:
    report = tmp_path / "audit.md"
    assert main(command(tmp_path, "--part", "refusal", "--report", str(report), "--lang", "zh", "--quiet")) == 0
    assert "该拒绝时拒绝" in report.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--part", "refusals"], "no part 'refusals'. Nearest: refusal"),
        (["--report", "audit.pdf"], "ends in .html, .md or .json"),
        (["--part", "pairs"], "needs a causal model"),
    ],
)
def test_errors_are_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, *words)) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_killed_it_goes_on(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pipelines.engines import scripted\n"
        "answer = scripted.ScriptedEngine.batch\n"
        "def slow(self, *args, **kwargs):\n"
        "    time.sleep(0.1)\n"
        "    return answer(self, *args, **kwargs)\n"
        "scripted.ScriptedEngine.batch = slow\n"
        "from apps.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = command(tmp_path, "--part", "refusal", "--quiet")
    process = subprocess.Popen([sys.executable, "-c", program, *words], cwd=ROOT, env={**os.environ})
    results, deadline = tmp_path / "results", time.monotonic() + 60
    while not list(results.glob("*/records.jsonl")) and time.monotonic() < deadline:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "audit.html").exists()
    (folder,) = (path for path in results.iterdir() if "harmful" in path.name)
    before = [record.row_id for record in load_run(folder).records]
    assert main(words) == 0
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [line["row_id"] for line in lines if line["kind"] == "row"]
    assert len(rows) == len(set(rows)) == 72
    assert rows[: len(before)] == [row for row in rows if row in before]
