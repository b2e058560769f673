"""Answers come in order, once each, and outlive a kill; never those of another model or other options."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.judging.answers import answers
from pipelines import pipeline

ROOT = Path(__file__).parent.parent
REQUESTS = [{"text": f"Sentence number {place}.", "target": "fr"} for place in range(150)]


def expected(requests: list[dict[str, str]]) -> list[str]:
    translate = pipeline("translation", model="scripted")
    return [generation.text for generation in translate.batch(requests)]


def test_each_request_is_answered_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    translate = pipeline("translation", model="scripted")
    told: list[int] = []
    found = answers(translate, REQUESTS, tmp_path, advance=told.append)
    assert [answer.text for answer in found] == expected(REQUESTS)
    assert sum(told) == 150
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setattr(type(translate), "batch", None)  # nothing is left to ask
    assert answers(translate, REQUESTS, tmp_path) == found


def test_other_options_and_other_rows_are_other_answers(tmp_path: Path) -> None:
    translate = pipeline("translation", model="scripted")
    answers(translate, REQUESTS[:3], tmp_path)
    answers(translate, REQUESTS[:3], tmp_path, max_new_tokens=50)
    answers(translate, REQUESTS[1:4], tmp_path)
    answers(pipeline("translation", model="scripted"), REQUESTS[:3], tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_row_that_fails_is_an_answer_with_its_reason(tmp_path: Path) -> None:
    found = answers(
        pipeline("translation", model="scripted"), [REQUESTS[0], {"text": "", "target": "fr"}, REQUESTS[1]], tmp_path
    )
    assert [answer.finish_reason for answer in found] == ["stop", "error", "stop"]
    assert found[1].error
    assert found[1].text == ""


PROGRAM = """
import os, signal, sys
from pathlib import Path
from finetune.judging import answers as module
from pipelines import pipeline
sys.path.insert(0, sys.argv[4])
from tests.test_finetune_judging_answers import REQUESTS
module._AT_ONCE = 7
left = int(sys.argv[2])

def count(rows):
    global left
    left -= rows > 0
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

found = module.answers(pipeline("translation", model="scripted"), REQUESTS, Path(sys.argv[1]), advance=count)
"""


def test_killed_again_and_again_it_goes_on(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for kill, torn in ((2, 0), (4, 11)):
        call = [sys.executable, "-c", PROGRAM, str(tmp_path), str(kill), "", str(ROOT)]
        assert subprocess.run(call, env=environment, cwd=ROOT).returncode == -signal.SIGKILL
        (path,) = tmp_path.iterdir()
        with path.open("r+b") as file:  # what a power cut leaves of the last line
            file.truncate(path.stat().st_size - torn)
    lines = path.read_bytes().count(b"\n")
    assert 20 < lines < 60
    found = answers(pipeline("translation", model="scripted"), REQUESTS, tmp_path)
    assert [answer.text for answer in found] == expected(REQUESTS)
    assert path.read_bytes().count(b"\n") == 150


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 4000))
def test_wherever_the_file_is_torn_nothing_is_lost_or_double(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    translate = pipeline("translation", model="scripted")
    whole = answers(translate, REQUESTS[:20], folder)
    (path,) = folder.iterdir()
    data = path.read_bytes()
    path.write_bytes(data[: cut % (len(data) + 1)])
    assert answers(translate, REQUESTS[:20], folder) == whole
    assert path.read_bytes() == data
