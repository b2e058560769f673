"""``cinquain run``: what goes in, what comes out, and every wrong input as one sentence."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.cli.inputs import read_text
from apps.cli.main import main
from apps.cli.run import parse_settings, stream_to_terminal
from pipelines import TASKS, Pipeline, load_prompt
from pipelines.engines.base import Call
from pipelines.engines.scripted import ScriptedEngine
from pipelines.errors import InputError
from pipelines.requests import MAX_CHARACTERS

SCRIPTED = ["--model", "scripted"]
TO_FRENCH = ["run", "translation", *SCRIPTED, "--set", "target=fr"]


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


class StandardInput(io.TextIOWrapper):
    """Bytes as if they were piped in, or a terminal."""

    def __init__(self, data: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence of a command that exits with 2."""
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "Traceback" not in output.err
    return output.err


def test_text_goes_to_standard_output_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TO_FRENCH, "Good morning."]) == 0
    assert capsys.readouterr().out == "[fr] Good morning.\n"


def test_text_comes_from_a_file_or_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text("Good morning.", encoding="utf-8")
    assert main([*TO_FRENCH, "-f", str(tmp_path / "in.txt")]) == 0
    for argument in (["-"], []):
        monkeypatch.setattr(sys, "stdin", StandardInput(b"Good morning."))
        assert main([*TO_FRENCH, *argument]) == 0
    assert capsys.readouterr().out == "[fr] Good morning.\n" * 3


def test_standard_input_is_left_alone_when_the_fields_are_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", StandardInput(b"not this"))
    assert main([*TO_FRENCH, "--set", "text=Good morning."]) == 0
    assert capsys.readouterr().out == "[fr] Good morning.\n"


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TO_FRENCH, "Good morning to you all.", "--json", "--max-new-tokens", "3", "--lang", "zh"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema_version"] == 1
    assert (data["task"], data["model"], data["finish_reason"]) == ("translation", "scripted", "length")
    assert data["usage"]["completion_tokens"] >= 3
    assert set(data["timing"]) == {"first_token_s", "total_s", "tokens_per_s"}
    assert {"text", "variants", "provenance"} <= set(data)
    note = next(note for note in data["notes"] if note["code"] == "reply_at_limit")
    assert set(note) == {"code", "parameters", "span", "sentence"}
    assert "词元" in note["sentence"]


def test_notes_are_sentences_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TO_FRENCH, "Good morning to you all.", "--max-new-tokens", "3"]) == 0
    output = capsys.readouterr()
    assert "cut at 3 tokens" in output.err
    assert "cut at" not in output.out


def test_output_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.txt"
    assert main([*TO_FRENCH, "Good morning.", "-o", str(path)]) == 0
    assert path.read_text() == "[fr] Good morning.\n"
    assert main([*TO_FRENCH, "Good morning.", "-o", str(path), "--json"]) == 0
    assert json.loads(path.read_text())["text"] == "[fr] Good morning."
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_task_runs_on_a_bare_text(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = ["--set", "target=fr"] if task == "translation" else []
    assert main(["run", task, "A short walk by the sea.", *SCRIPTED, *target]) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "translatoin", "hi"], ["translatoin", "translation"]),
        (["run", "translation", "hi", *SCRIPTED], ["--set target=fr"]),
        (["run", "translation", "", *SCRIPTED, "--set", "target=fr"], ["empty"]),
        ([*TO_FRENCH, "hi", "--set", "tagret=fr"], ["tagret", "target"]),
        ([*TO_FRENCH, "hi", "--set", "target=de"], ["target", "twice"]),
        ([*TO_FRENCH, "hi", "--set", "target"], ["NAME=VALUE"]),
        ([*TO_FRENCH, "hi", *SCRIPTED, "--engine", "context_lenght=9"], ["context_length"]),
        ([*TO_FRENCH, "hi", *SCRIPTED, "-e", "context_length=few"], ["context_length", "few", "integer"]),
        ([*TO_FRENCH, "hi", *SCRIPTED, "-e", "context_length=9"], ["reads 9 at most"]),
        ([*TO_FRENCH, "hi", "-e", "model=x"], ["no option 'model'"]),
        ([*TO_FRENCH, "hi", "--engine", "device"], ["--engine", "NAME=VALUE"]),
        ([*TO_FRENCH, "hi", "--set", "text=ho"], ["text", "twice"]),
        ([*TO_FRENCH, "hi", "--temperature", "-1"], ["temperature", "-1"]),
        ([*TO_FRENCH, "hi", "--max-new-tokens", "0"], ["max_new_tokens"]),
        ([*TO_FRENCH, "hi", "--deadline", "0"], ["deadline"]),
        ([*TO_FRENCH, "hi", "--seed", "1", "--set", "seed=2"], ["seed", "twice"]),
        ([*TO_FRENCH, "hi", "-o", "/"], ["folder"]),
        ([*TO_FRENCH, "hi", "-o", "no/such/folder/out.txt"], ["mkdir"]),
        ([*TO_FRENCH, "hi", "-f", "in.txt"], ["not both"]),
        (["run", "translation", "hi", "--set", "target=fr", "--model", "no-such-model"], ["no-such-model"]),
        (["run", "translation", "hi", *SCRIPTED, "--set", "target=Notalanguage"], ["Notalanguage"]),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = failure(arguments, capsys)
    for word in words:
        assert word in sentence


def test_no_text_at_a_terminal_is_a_sentence_not_a_wait(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", StandardInput(terminal=True))
    assert "-f FILE" in failure(TO_FRENCH, capsys)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["empty"]),
        (b" \n\t\n", ["empty"]),
        (b"PK\x03\x04\x00\x00", ["not a text file", "byte 4"]),
        (b"one\ntwo caf\xe9 \n", ["byte 11", "line 2", "0xe9", "iconv -f windows-1252"]),
        ("今天天气很好，我们去公园散步。".encode("gb18030"), ["byte 0", "iconv -f gb18030"]),
        (b"\xff\xfea\x00b", ["not UTF-8"]),
        (b"x" * (4 * MAX_CHARACTERS + 5), ["larger", "--input"]),
        (b"x" * (MAX_CHARACTERS + 1), [str(MAX_CHARACTERS)]),
    ],
)
def test_files_that_are_no_text(
    data: bytes, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_bytes(data)
    sentence = failure([*TO_FRENCH, "-f", str(tmp_path / "in")], capsys)
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(("name", "words"), [("gone.txt", ["no file", "gone.txt"]), ("", ["folder"])])
def test_files_that_are_not_there(
    name: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = failure([*TO_FRENCH, "-f", str(tmp_path / name)], capsys)
    for word in words:
        assert word in sentence


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("needs /dev/zero")
    with pytest.raises(InputError, match="larger"):
        read_text(None, Path("/dev/zero"))


# Without U+0000: UTF-16 that begins with it cannot be told from UTF-32, and UTF-8 that holds it is no text.
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters=chr(0)), min_size=1),
    st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]),
)
def test_a_byte_order_mark_names_the_encoding(text: str, encoding: str) -> None:
    source = sys.stdin
    sys.stdin = StandardInput(text.encode(encoding))
    try:
        if text.strip():
            assert read_text("-", None) == text
    finally:
        sys.stdin = source


def test_settings_are_json_where_they_parse() -> None:
    fields = parse_settings(['glossary={"a": "b"}', "variants=3", "text=123", "tests=[1", "focus=a=b", "source=null"])
    assert fields == {
        "glossary": {"a": "b"}, "variants": "3", "text": "123", "tests": "[1", "focus": "a=b", "source": None
    }  # fmt: skip


def test_a_setting_of_brackets_is_a_text() -> None:
    assert parse_settings(["text=" + "[" * 100_000]) == {"text": "[" * 100_000}


def test_numbers_reach_number_fields_and_text_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TO_FRENCH, "--set", "text=123", "--set", "seed=5", "--set", "temperature=0.5", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["provenance"]["options"]["seed"] == 5
    assert "123" in data["text"]


def test_control_characters_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    dialogue = TASKS["dialogue"]()
    engine = ScriptedEngine(["Hello \x1b]0;owned\x07\x1b[31mred\x1b[0m \u202eevil"])
    fields = dialogue.fields_from_text("Hi")
    generation, removed = stream_to_terminal(Pipeline(dialogue, engine, load_prompt("dialogue")), fields)
    shown = capsys.readouterr().out
    assert shown == "Hello red evil\n"
    assert generation.text.count("\x1b") == 3
    assert removed == len(generation.text) - len(shown.rstrip("\n"))


def test_ctrl_c_stops_the_model_at_once_and_keeps_what_was_shown(capsys: pytest.CaptureFixture[str]) -> None:
    tokens = 0

    def press() -> None:
        nonlocal tokens
        tokens += 1
        if tokens == 20:
            os.kill(os.getpid(), signal.SIGINT)

    def reply(call: Call) -> str:
        return "word " * 5000

    dialogue = TASKS["dialogue"]()
    pipeline = Pipeline(dialogue, ScriptedEngine(reply, on_token=press), load_prompt("dialogue"))
    fields: dict[str, Any] = {**dialogue.fields_from_text("Hi"), "max_new_tokens": 3000}
    generation, _ = stream_to_terminal(pipeline, fields)
    assert generation.finish_reason == "cancelled"
    assert tokens <= 22
    assert capsys.readouterr().out.split() == generation.text.split() != []


def test_ctrl_c_ends_the_program_with_130(tmp_path: Path) -> None:
    """A real process at a pseudo-terminal, interrupted while it streams."""
    text = tmp_path / "long.txt"
    text.write_text("One more sentence for the model. " * 30_000)
    keyboard, terminal = pty.openpty()
    command = [sys.executable, "-m", "apps.cli", *TO_FRENCH, "-f", str(text)]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE) as process:
        os.close(terminal)
        shown = os.read(keyboard, 200)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                piece = os.read(keyboard, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            shown += piece
        assert process.stderr is not None
        complaint = process.stderr.read().decode()
        assert process.wait(timeout=60) == 130
    os.close(keyboard)
    assert shown.startswith(b"[")  # of "[fr] One more…"; the first token is enough
    assert len(shown) < len(text.read_text())
    assert "Stopped." in complaint
    assert "Traceback" not in complaint
