"""``cinquain demo`` and ``cinquain ui``: five tasks in the terminal, then a server that answers."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from apps.cli.demo import REQUESTS
from apps.cli.main import main
from pipelines import TASKS
from pipelines.requests import split_options, validate
from tests.doubles.ports import free_port


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def test_each_task_is_shown_once_with_a_valid_request() -> None:
    assert sorted(name for name, _ in REQUESTS) == sorted(TASKS)
    for name, given in REQUESTS:
        fields, options = split_options(TASKS[name].request_type, given, name)
        validate(TASKS[name].request_type, fields, name)
        assert options.max_new_tokens  # keeps the whole run short on a slow machine


def test_the_five_tasks_run_in_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--model", "scripted", "--no-ui"]) == 0
    output = capsys.readouterr()
    for heading in ("Translation", "Summarization", "Dialogue", "Code generation", "Creative writing"):
        assert heading in output.out
    assert "[fr] The library" in output.out
    assert output.err.count("tokens/s") == 5


def test_headings_in_chinese(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--model", "scripted", "--no-ui", "--lang", "zh"]) == 0
    assert "创意写作" in capsys.readouterr().out


@pytest.mark.model
@pytest.mark.slow
def test_the_five_tasks_run_on_the_embedded_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--no-ui"]) == 0
    assert capsys.readouterr().err.count("tokens/s") == 5


def test_a_busy_port_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["ui", "--model", "scripted", "--port", str(port)]) == 2
    output = capsys.readouterr()
    assert str(port) in output.err
    assert "Traceback" not in output.err
    assert "http://" not in output.out


@pytest.mark.parametrize("arguments", [["--host", "0.0.0.0"], ["--port", "0"], ["--port", "99999"]])
def test_addresses_that_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ui", "--model", "scripted", *arguments]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_server_answers_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "apps.cli", "demo", "--model", "scripted", "--port", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        shown = ""
        for line in process.stdout:
            shown += line
            if f"http://127.0.0.1:{port}" in line:
                break
        else:
            raise AssertionError(shown + process.stderr.read())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
            assert page.status == 200
        process.send_signal(signal.SIGINT)
        complaint = process.communicate(timeout=60)[1]
        assert process.returncode == 0, complaint
    assert "Creative writing" in shown
    assert "Traceback" not in complaint
