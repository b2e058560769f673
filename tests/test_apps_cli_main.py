"""The edge of the command line: a light start, exit codes, one sentence for every failure."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apps.cli import main as cli
from apps.cli.group import COMMANDS
from apps.cli.main import main
from pipelines.errors import CinquainError, InputError

HEAVY = (
    "torch",
    "transformers",
    "gradio",
    "pydantic",
    "numpy",
    "peft",
    "huggingface_hub",
    "jinja2",
    "pipelines",
    "yaml",
)


def start(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    options.setdefault("env", {**os.environ, "LC_ALL": "C.UTF-8"})
    command = [sys.executable, "-m", "apps.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["chat", "-h"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    # Typer itself loads pydantic when it describes the options of one command.
    heavy = HEAVY if arguments[0].startswith("--") else tuple(name for name in HEAVY if name != "pydantic")
    code = (
        "import sys, contextlib, io\n"
        "from apps.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    code = main({arguments!r})\n"
        f"print(code, *[name for name in {heavy!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout.split() == ["0"], result.stdout + result.stderr


def test_help_lists_every_command_and_the_module_runs() -> None:
    result = start("--help")
    assert result.returncode == 0
    assert result.stderr == ""
    for name in COMMANDS:
        assert f" {name} " in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"cinquain {name}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("cinquain ")


def test_an_unknown_command_gets_the_nearest_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docter"]) == 2
    error = capsys.readouterr().err
    assert "'docter'" in error
    assert "doctor" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["run", "--bogus"], "--bogus"), (["run"], "task"), (["run", "x", "--seed", "soon"], "--seed")],
)
def test_a_wrong_command_line_exits_2_and_names_the_help(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert word in error
    assert "cinquain run --help" in error
    assert error.count("\n") == 1


def test_nothing_asked_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    output = capsys.readouterr()
    assert "translate" in (output.out + output.err).lower()


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("text_empty", field="text"), 2, ["text is empty"]),
        (CinquainError("cli_output_busy", path="out.jsonl"), 1, ["out.jsonl", "Another process"]),
        (ValueError("two\nlines"), 1, ["ValueError", "two lines", "CINQUAIN_DEBUG=1"]),
        (MemoryError(), 1, ["memory"]),
        (ModuleNotFoundError("No module named 'gguf'", name="gguf"), 1, ["gguf", "pip install"]),
        (RuntimeError("bad \x1b[31mred"), 1, ["bad red"]),
        (KeyboardInterrupt(), 130, ["Stopped."]),
    ],
)
def test_failures_end_as_one_line(
    error: BaseException,
    code: int,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.delenv("CINQUAIN_DEBUG", raising=False)
    fail_with(error, monkeypatch)
    assert main(["run", "translation"]) == code
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert text.count("\n") == 1
    for word in words:
        assert word in text


def test_the_traceback_is_there_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CINQUAIN_DEBUG", "1")
    fail_with(ValueError("deep down"), monkeypatch)
    assert main(["run", "translation"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "locale", "word"),
    [
        (["nothing"], "zh_CN.UTF-8", "没有名为"),
        (["--lang", "zh", "nothing"], "C", "没有名为"),
        (["--lang", "en", "nothing"], "zh_CN.UTF-8", "There is no command"),
        (["run", "nothing", "--lang", "zh"], "C", "没有名为"),
    ],
)
def test_sentences_follow_the_language(
    arguments: list[str], locale: str, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    assert main(arguments) == 2
    assert word in capsys.readouterr().err


def test_a_reader_that_leaves_early_causes_no_noise(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "apps.cli", "run", "translation", "-", "--set", "target=fr", "--model", "scripted"]
    text = tmp_path / "long.txt"
    text.write_text("One more sentence for the pipe. " * 20_000)
    with text.open() as source:
        writer = subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.read(10)
        writer.stdout.close()
        noise = writer.stderr.read().decode()
        writer.wait(timeout=120)
        writer.stderr.close()
    assert "Traceback" not in noise
    assert "BrokenPipe" not in noise


def test_every_word_of_the_command_line_is_there_in_both_languages() -> None:
    from pipelines.wording import sentences

    sources = Path(cli.__file__).parent.glob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    mine = {code for code in sentences() if code.startswith(("cli_", "chat_", "ui_", "doctor_", "demo_"))}
    unused = {code for code in mine if code not in text and not code.startswith(("doctor_", "demo_"))}
    assert not unused
    for code in mine:
        assert set(sentences()[code]) == {"en", "zh"}, code
    assert json.dumps(sorted(mine))


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the run command fail where it first touches the disk or the model."""
    from apps.cli import run

    def fail(*arguments: Any, **keywords: Any) -> None:
        raise error

    monkeypatch.setattr(run, "parse_settings", fail)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "apps.cli", "run", "dialogue", "Hello.", "--model", "scripted"]
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "No space left on device" in run.stderr
    assert "fault in Cinquain" not in run.stderr


def test_closed_standard_streams_are_no_fault(tmp_path: Path) -> None:
    program = f"{sys.executable} -m apps.cli run dialogue Hello. --model scripted"
    assert subprocess.run(f"{program} >&-", shell=True, capture_output=True, timeout=120).stderr == b""
    output = tmp_path / "out.txt"
    assert subprocess.run(f"{program} -o {output} >&- 2>&-", shell=True, timeout=120).returncode == 0
    assert output.read_text(encoding="utf-8") == "You said: Hello.\n"
