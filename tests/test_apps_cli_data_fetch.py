"""``cinquain data fetch``: the list of public sets, and one of them as a file that ``data prepare`` reads."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from apps.cli.main import main
from finetune.data.fetch import SETS
from tests.doubles.data_rows import lines_of


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set beside the real ones, which take their time."""

    def read(wheels: Sequence[Any], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
        yield from ({"prompt": f"Add {number}.", "response": f"x + {number}"} for number in range(9))

    monkeypatch.setitem(SETS, "tiny", replace(SETS["python-functions"], name="tiny", read=read))


def test_without_a_name_the_sets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(SETS)]] == list(SETS)
    (benchmark,) = [line for line in lines if line.startswith("humaneval")]
    assert "not to train on" in benchmark
    assert main(["data", "fetch", "--json", "--lang", "zh"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in data] == list(SETS)
    assert {one["use"] for one in data} == {"training", "benchmark"}
    assert all(one["licence"] and one["languages"] and one["rows"] for one in data)


def test_a_set_is_rebuilt_and_the_next_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "tiny", "--limit", "5"]) == 0
    captured = capsys.readouterr()
    path = Path("tiny.jsonl")
    assert captured.out.splitlines() == [
        str(path),
        f"Next: cinquain data prepare {path} --task code_generation --out tiny",
    ]
    assert "licence PSF-2.0" in captured.err
    assert len(lines_of(path)) == 5
    assert main(["data", "fetch", "tiny", "--limit", "5", "--out", "x.jsonl", "--json"]) == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert (data["rows"], data["path"], data["task"]) == (5, "x.jsonl", "code_generation")
    assert captured.err == ""
    assert Path("x.jsonl").read_bytes() == path.read_bytes()
    assert main(["data", "fetch", "tiny", "--limit", "5", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["jupyterlab"], 2, "Did you mean: jupyterlab-ui"),
        (["--limit", "5"], 2, "--limit needs the name of a set"),
        (["tiny", "--limit", "0"], 2, "must be 1 or more"),
        (["tiny", "--from", "a.whl"], 2, "Leave --from out"),
        (["chitchat", "--from", "gone.whl"], 2, "There is no file gone.whl"),
        (["chitchat", "--languages", "fr, de"], 2, "chitchat has nothing in 'fr'"),
        (["chitchat"], 1, "HF_HUB_OFFLINE forbids it"),
        (["tiny", "--out", "mine.jsonl"], 2, "mine.jsonl is there already"),
        (["tiny", "--out", "mine.jsonl/x.jsonl"], 1, "mine.jsonl"),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.jsonl").write_text("{}\n")
    assert main(["data", "fetch", *arguments]) == code
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert Path("mine.jsonl").read_text() == "{}\n"
