"""Rows of a file: bad rows beside good ones, ``kill -9`` at any moment, and no output mixed up with another's."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from apps.cli.main import main


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def command(source: Path, output: Path, *more: str) -> list[str]:
    return ["run", "translation", "--model", "scripted", "-i", str(source), "-o", str(output), *more]


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def five(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "in.jsonl", [{"text": f"Sentence {index}.", "target": "fr"} for index in range(5)])


def test_rows_come_out_in_order_with_their_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": f"r{index}", "text": f"Sentence {index}." * (9 - index)} for index in range(8)]
    source, output = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    assert main(command(source, output, "--set", "target=fr", "--batch-size", "3")) == 0
    found = read_rows(output)
    assert [row["index"] for row in found] == list(range(8))
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert all(f"Sentence {index}." in row["text"] for index, row in enumerate(found))
    assert {"text", "finish_reason", "usage", "notes", "provenance"} <= set(found[0])
    assert len(found[0]["provenance"]["prompt_sha256"]) == 64
    output_and_error = capsys.readouterr()
    assert output_and_error.out == ""
    assert "8 rows" in output_and_error.err


def test_bad_rows_keep_their_place_and_say_why(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(
        b'\xef\xbb\xbf{"text": "First.", "target": "fr"}\n'
        b"\n"
        b"not json\n"
        b"[1, 2]\n"
        b'{"text": "caf\xe9", "target": "fr"}\n'
        b'{"id": 7, "text": "Hi.", "tagret": "fr"}\n'
        b'{"text": "", "target": "fr"}\n'
        b'{"text": "Hi."}\n'
        b'{"text": "Last.", "target": "fr", "temperature": 0}'
    )
    assert main(command(source, output)) == 0
    found = read_rows(output)
    codes = [row.get("error", {}).get("code") for row in found]
    assert codes == [
        None, "cli_row_not_json", "cli_row_not_object", "cli_row_not_utf8", "field_unknown", "text_empty",
        "field_missing", None,
    ]  # fmt: skip
    assert found[1]["error"]["parameters"]["line"] == 3
    assert "Line 3" in found[1]["error"]["sentence"]
    assert found[4]["id"] == 7
    assert [row["index"] for row in found] == list(range(8))


def test_a_row_comes_before_what_is_set_for_all(tmp_path: Path) -> None:
    rows = [{"text": "One."}, {"text": "Two.", "target": "de"}]
    source, output = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    assert main(command(source, output, "--set", "target=fr")) == 0
    assert [row["text"][:4] for row in read_rows(output)] == ["[fr]", "[de]"]


def test_finished_work_is_not_done_again(five: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.jsonl"
    assert main(command(five, output)) == 0
    before = output.read_bytes()
    capsys.readouterr()
    assert main(command(five, output)) == 0
    assert "Nothing to do" in capsys.readouterr().err
    assert output.read_bytes() == before


@pytest.mark.parametrize("kept", [0, 1, 40, -1, -20])
def test_a_torn_end_is_cut_off_and_done_again(kept: int, five: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert main(command(five, output)) == 0
    whole = read_rows(output)
    output.write_bytes(output.read_bytes()[:kept])
    assert main(command(five, output)) == 0
    assert read_rows(output) == whole


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--set", "formality=formal"], "fields"),
        (["--temperature", "0.5"], "fields"),
        (["--adapter", "other"], "adapter"),
    ],
)
def test_other_work_is_refused(
    more: list[str], word: str, five: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.jsonl"
    assert main(command(five, output)) == 0
    before = output.read_bytes()
    if word != "adapter":  # the scripted engine takes none; its name in the record is what counts
        assert main(command(five, output, *more)) == 2
    else:
        record = output.with_name("out.jsonl.run.json")
        record.write_text(record.read_text().replace('"adapter": null', '"adapter": "other"'))
        assert main(command(five, output)) == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert word in sentence
    assert "--output" in sentence
    assert output.read_bytes() == before


def test_another_input_is_refused(five: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.jsonl"
    assert main(command(five, output)) == 0
    five.write_text(five.read_text().replace("Sentence 4", "Sentence 5"))
    assert main(command(five, output)) == 2
    assert "input_sha256" in capsys.readouterr().err


def test_a_foreign_or_changed_output_is_not_touched(
    five: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("mine\n")
    assert main(command(five, output)) == 2
    assert output.read_text() == "mine\n"
    output.unlink()
    assert main(command(five, output)) == 0
    lines = output.read_text().splitlines(keepends=True)
    output.write_text("".join([lines[0], *lines[2:]]))
    capsys.readouterr()
    assert main(command(five, output)) == 2
    assert "line 2" in capsys.readouterr().err


def test_two_at_once_on_one_output(five: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.jsonl"
    with FileLock(output.with_name(".out.jsonl.lock")):
        assert main(command(five, output)) == 1
    assert "Another process" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("more", "word"),
    [(["text"], "--input"), (["--json"], "--input"), (["--set", "tagret=fr"], "target"), (["--seed", "-1"], "seed")],
)
def test_wrong_combinations(
    more: list[str], word: str, five: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(five, tmp_path / "out.jsonl", *more)) == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("name", ["gone.jsonl", "", "empty.jsonl"])
def test_inputs_that_are_none(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    assert main(command(tmp_path / name, tmp_path / "out.jsonl")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_input_and_output_may_not_be_one_file(five: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = five.read_bytes()
    assert main(command(five, five)) == 2
    assert main(["run", "translation", "--model", "scripted", "-i", str(five)]) == 2
    assert "--output out.jsonl" in capsys.readouterr().err
    assert five.read_bytes() == before


def test_no_row_at_all_is_a_failure(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [1, 2])
    assert main(command(source, tmp_path / "out.jsonl")) == 1
    assert len(read_rows(tmp_path / "out.jsonl")) == 2


def test_killed_at_random_moments_and_interrupted_once(tmp_path: Path) -> None:
    """Real processes, SIGKILL while the output grows, one SIGINT, then the rest: as if nothing had happened."""
    rows = [{"id": index, "text": f"Sentence {index} of a longer file."} for index in range(600)]
    source, output, whole = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    more = ["--set", "target=fr", "--batch-size", "8"]
    assert main(command(source, whole, *more)) == 0
    size = whole.stat().st_size
    moments = random.Random(3)
    kills = 0
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        goal = (output.stat().st_size if output.exists() else 0) + moments.randrange(1, size // 4)
        if stopped_after(goal, output, command(source, output, *more), number):
            kills += 1
        assert whole.read_bytes().startswith(output.read_bytes()[: output.read_bytes().rfind(b"\n") + 1])
    assert kills >= 2
    assert main(command(source, output, *more)) == 0
    assert output.read_bytes() == whole.read_bytes()


def stopped_after(goal: int, output: Path, arguments: list[str], number: int) -> bool:
    """Start the command, send the signal once its output has grown to ``goal`` bytes; whether it was still running."""
    process = subprocess.Popen(
        [sys.executable, "-m", "apps.cli", *arguments], stderr=subprocess.DEVNULL, env={**os.environ}
    )
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if output.exists() and output.stat().st_size >= goal:
            process.send_signal(number)
            return process.wait(timeout=60) == (130 if number == signal.SIGINT else -number)
        try:
            process.wait(timeout=0.002)
        except subprocess.TimeoutExpired:
            continue
        return False
    process.kill()
    raise AssertionError("the output did not grow")


def test_a_full_disk_is_one_sentence_and_a_later_start_goes_on(tmp_path: Path) -> None:
    """A limit of the account stands for the disk: the system refuses in the middle of a line."""
    rows = [{"id": index, "messages": [{"role": "user", "content": "Hello."}]} for index in range(40)]
    source, output = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    limited = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, -1)); "
    limited += "from apps.cli.main import main; sys.exit(main())"
    arguments = ["run", "dialogue", *command(source, output, "--batch-size", "8")[2:]]
    run = subprocess.run([sys.executable, "-c", limited, *arguments], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stderr.count("\n")) == (1, 1)
    assert "The disk is full" in run.stderr
    assert output.stat().st_size == 6000
    assert main(arguments) == 0
    assert [row["id"] for row in read_rows(output)] == list(range(40))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(number: str, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(f'{{"id": {number}, "text": "Hello.", "target": "fr"}}\n', encoding="utf-8")
    assert main(command(source, output)) == 1
    (row,) = read_rows(output)
    assert row["error"]["code"] == "cli_row_not_json"
    assert number in row["error"]["sentence"]
