"""``cinquain data show``: a row as its model reads it; what carries loss can be seen with colours and without."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apps.cli.main import main
from finetune.data.prepare import prepare
from finetune.data.results import finished
from tests.doubles.data_rows import configured, counting_model, lines_of, planted, write_lines
from tests.doubles.tiny_seq2seq import checkpoint

ROOT = Path(__file__).parent.parent
HOSTILE = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202edcba\r"


@pytest.fixture(autouse=True)
def _language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a model, a raw file and the result ``out`` that was prepared of it."""
    folder = tmp_path_factory.mktemp("show")
    counting_model(folder / "model")
    path = write_lines(folder / "rows.jsonl", planted())
    prepare(configured(folder / "model", path), folder / "out")
    write_lines(
        folder / "hostile.jsonl", [{"text": f"A text {HOSTILE}", "summary": f"A reply {HOSTILE}\nof two lines"}]
    )
    return folder


def test_a_row_stands_there_with_what_carries_loss_in_brackets(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "show", str(folder / "out"), "--row", "2", "--split", "validation"]) == 0
    printed = capsys.readouterr().out
    row = lines_of(folder / "out" / "validation.jsonl")[1]
    assert f"validation.jsonl 2 ({row['id']})" in printed
    assert f"{row['tokens']} tokens, {row['trained']} of them carry loss" in printed
    assert f"⟦{row['reply']}<|end|>⟧" in printed
    assert row["request"]["text"] in printed
    assert printed.count("⟦") == 2  # the second one stands in the line that explains it
    assert main(["data", "show", str(folder / "out" / "validation.jsonl"), "--row", row["id"]]) == 0
    assert capsys.readouterr().out == printed


def test_on_a_terminal_it_is_coloured(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(["data", "show", str(folder / "out"), "--row", "1"]) == 0
    printed = capsys.readouterr().out
    assert "⟦" not in printed
    (line,) = [line for line in printed.splitlines() if "<|end|>" in line and "\x1b[1;" in line]
    assert line.split("<|end|>")[-2].rpartition("\x1b[")[2].startswith("1;")  # bold green, as all of the reply
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["data", "show", str(folder / "out"), "--row", "1"]) == 0
    assert "⟦" in capsys.readouterr().out


def test_ids_are_listed_one_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", str(folder / "out"), "--row", "1", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert main(["data", "show", str(folder / "out"), "--row", "1", "--ids"]) == 0
    _, *lines, _ = capsys.readouterr().out.splitlines()
    listed = [(line.startswith("+"), [int(word) for word in line.split('"')[0].strip("+ ").split()]) for line in lines]
    assert [token for _, tokens in listed for token in tokens] == data["tokens"]
    assert [loss for loss, tokens in listed for _ in tokens] == data["labels"]
    assert (data["part"], data["number"], data["task"]) == ("train", 1, "summarization")
    assert data["trained"] == sum(data["labels"]) == data["row"]["trained"]
    assert data["total"] == len(data["tokens"]) == data["row"]["tokens"]
    assert "".join(piece["text"] for piece in data["pieces"] if piece["loss"]) == f"{data['row']['reply']}<|end|>"


@pytest.mark.parametrize("more", [[], ["--ids"], ["--json"]])
def test_nothing_of_a_row_reaches_the_terminal(
    more: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = str(folder / "hostile.jsonl"), str(folder / "model")
    assert main(["data", "show", path, "-t", "summarization", "-m", model, "-r", "1", *more]) == 0
    printed = capsys.readouterr().out
    assert not set(printed) & set("\x1b\x07\x9b\u202e\r")
    if more:
        return
    assert r"A reply \x1b]0;owned\x07\x1b[31mred\x9b2J\u202edcba\x0d↵" in printed


def test_the_account_comes_with_lengths_and_languages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", str(folder / "out")]) == 0
    printed = capsys.readouterr().out
    ledger = finished(folder / "out")
    assert ledger is not None
    for size, count in ledger.lengths.items():
        assert f"≤ {size}  {count:>3}  █" in printed
    assert "en" in printed
    assert "English" in printed
    assert main(["data", "show", str(folder / "out"), "--lang", "zh"]) == 0
    printed = capsys.readouterr().out
    assert "长度（词元数）" in printed
    assert "英语" in printed
    assert main(["data", "show", str(folder / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lengths"] == ledger.lengths


def test_nothing_of_a_ledger_from_elsewhere_reaches_the_terminal(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = json.loads((folder / "out" / "ledger.json").read_bytes())
    data["languages"] = {HOSTILE: 3, "fr": 1}
    data["splits"][HOSTILE] = data["splits"]["train"]
    data["steps"]["repair"]["changes"] = data["steps"]["repair"]["dropped"] = {HOSTILE: 2}
    data["tokens"]["model"] = data["result_sha256"] = HOSTILE
    (tmp_path / "ledger.json").write_text(json.dumps(data))
    for more in ([], ["--json"]):
        assert main(["data", "show", str(tmp_path), *more]) == 0
        printed = capsys.readouterr().out
        assert "red" in printed
        assert not set(printed) & set("\x1b\x07\x9b\u202e\r")


def test_a_raw_file_is_looked_at_before_it_is_prepared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "show", str(folder / "rows.jsonl"), "-t", "summarization", "-m", str(folder / "model")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "150 records, 145 of them rows of summarization" in printed
    assert "not_json" in printed
    assert "≤ 256" in printed
    assert main([*command, "--records", "10", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["read"], data["rows"], data["whole"], data["dropped"]) == (10, 9, False, {"not_json": 1})
    write_lines(folder / "odd.jsonl", [{"a": "A text of some length", "b": "A reply"}])
    odd = ["data", "show", str(folder / "odd.jsonl"), "-t", "summarization", "-m", str(folder / "model"), "-r", "1"]
    assert main([*odd, "--columns", "text=a,reply=b"]) == 0
    assert "⟦A reply<|end|>⟧" in capsys.readouterr().out
    assert main(odd) == 2
    assert "map them: --columns" in capsys.readouterr().err


def test_another_model_reads_it_otherwise(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    marian = str(checkpoint("marian", tmp_path_factory.getbasetemp()))
    path = write_lines(
        folder / "pair.jsonl", [{"text": "The cat sleeps.", "target": "de", "reply": "Die Katze schläft."}]
    )
    command = [
        "data",
        "show",
        str(path),
        "-t",
        "translation",
        "-r",
        "1",
        "--columns",
        "text=text,target=target,reply=reply",
    ]
    assert main([*command, "-m", marian]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "The encoder reads"
    assert "cat sleeps." in lines[2]
    assert "⟦" not in lines[2]
    assert lines[3] == "The decoder writes"
    assert "Katze" in lines[4]
    assert lines[4].endswith("</s>⟧")


BAD: list[tuple[list[str], str]] = [
    (["out", "-r", "0"], "there is no row 0"),
    (["out", "-r", "-1"], "there is no row -1"),
    (["out", "-r", "9999"], "rows, counted from 1; there is no row 9999"),
    (["out", "-r", "x"], "No row of out has the id 'x'. An id looks like 'rows.jsonl:"),
    (["out", "-r", "rows.jsonl:42"], "dropped in the step exact_duplicates (duplicate)"),
    (["out", "-r", "1", "--split", "test"], "has no rows in 'test'. It has some in: train, validation"),
    (["out", "-r", "1", "-t", "dialogue"], "was prepared for summarization, not for dialogue"),
    (["out", "-r", "1", "-c", "text=a"], "--columns describes a file of rows"),
    (["out", "-r", "1", "-m", "scripted"], "scripted"),
    (["model"], "there is no ledger.json in it"),
    (["gone"], "gone is a file of rows: say what task"),
    (["gone", "-t", "dialogue", "-r", "1"], "There is no file gone."),
    (["gone.jsonl", "-t", "dialogue", "-r", "1"], "There is no file gone.jsonl"),
    (["rows.jsonl"], "say what task they are for"),
    (["rows.jsonl", "-t", "dialog"], "Did you mean: dialogue"),
    (["rows.jsonl", "-t", "summarization", "--split", "train"], "leave --split out"),
    (["rows.jsonl", "-t", "summarization", "-r", "151"], "holds 150 records, and the last one is number 150"),
    (["rows.jsonl", "-t", "summarization", "-r", "8"], "not_json"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_bad_input_is_one_sentence(
    arguments: list[str],
    sentence: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    named = [] if "-m" in arguments else ["-m", "model"]
    assert main(["data", "show", *arguments, *named]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


def test_a_reader_that_leaves_early_causes_no_noise(folder: Path) -> None:
    rows: list[Any] = [{"text": "A river. " * 15_000, "summary": "A river."}]
    path = write_lines(folder / "long.jsonl", rows)
    arguments = ["data", "show", str(path), "-t", "summarization", "-m", str(folder / "model"), "-r", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "apps.cli", *arguments]
    process = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert "Too long" in process.stdout.read(200)
    process.stdout.close()
    said = process.stderr.read()
    process.wait(timeout=120)
    process.stderr.close()
    assert "Traceback" not in said
    assert "BrokenPipe" not in said
