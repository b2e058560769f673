"""``kill -9`` at every step of fetching, repairing and removing, and two processes at once.

The conversion is a trivial one: what is tested is what surrounds it. The processes and the signal are real.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")

DESCRIPTION = """
import hashlib, json, os, shutil, signal, sys
from pathlib import Path
from pipelines.errors import CinquainError
from pipelines.models.embedded import Embedded, damage, ensure, folder_of, remove
from pipelines.models.progress import Progress
import filelock, importlib.metadata, tempfile  # before a process forks, so that imports are no steps to be killed at

GGUF = b"GGUF" + bytes(range(200))
SOURCE = Path(os.environ["CINQUAIN_HOME"]).parent / "source.gguf"
SOURCE.write_bytes(GGUF)

def convert(gguf, folder):
    assert gguf.read_bytes() == GGUF
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(name.encode() * 1000)

SHA256 = hashlib.sha256(GGUF).hexdigest()
MODEL = Embedded("tiny", "tiny==1", 10, "tiny/tiny.gguf", SHA256, len(GGUF), 10, "MIT", ("en",), convert=convert)
"""

KILL_EVERYWHERE = (
    DESCRIPTION
    + '''
STEPS = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "os.listdir"}

def killed_at(step, work):
    """Run ``work`` in a process that is killed just before its file operation number ``step``; False if it ended."""
    child = os.fork()
    if child == 0:
        left = step
        def hook(event, arguments):
            nonlocal left
            if event in STEPS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        work()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0

def fetch():
    ensure(MODEL, source=SOURCE, progress=Progress(quiet=True))

def fetch_offline():
    ensure(MODEL, progress=Progress(quiet=True))

def start(state):
    shutil.rmtree(folder_of(MODEL).parent, ignore_errors=True)
    if state != "empty":
        fetch()
    if state == "damaged":
        (folder_of(MODEL) / "config.json").write_bytes(b"spoiled")

def whole():
    names = sorted(path.name for path in folder_of(MODEL).parent.iterdir())
    return damage(MODEL, gguf_too=True) == [] and names == [".tiny.lock", "tiny"]

state, work, repair = {
    "fetch": ("empty", fetch, fetch),
    "repair": ("damaged", fetch_offline, fetch_offline),
    "remove": ("ready", lambda: remove(MODEL), fetch),
}[sys.argv[1]]
kills, wrong = 0, []
while True:
    start(state)
    if not killed_at(kills, work):
        break
    try:
        repair()  # what the next run does
        if not whole():
            wrong.append(kills)
    except CinquainError as error:
        wrong.append(f"{kills}: {error}")
    kills += 1
print(json.dumps({"kills": kills, "wrong": wrong}))
'''
)

WAITS = (
    DESCRIPTION
    + """
def slow(gguf, folder):
    print("converting", flush=True)
    sys.stdin.readline()
    convert(gguf, folder)

from dataclasses import replace
ensure(replace(MODEL, convert=slow), source=SOURCE, progress=Progress())
print("ready", flush=True)
"""
)


@pytest.fixture
def offline_home(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # A repair that asked the network would fail with a sentence, and so the test.
    monkeypatch.setenv("CINQUAIN_OFFLINE", "1")
    return empty_home


@pytest.mark.parametrize("work", ["fetch", "repair", "remove"])
def test_a_kill_at_any_step_leaves_what_the_next_run_makes_whole(work: str, offline_home: Path) -> None:
    call = [sys.executable, "-c", KILL_EVERYWHERE, work]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["wrong"] == []
    assert result["kills"] > {"fetch": 15, "repair": 20, "remove": 8}[work]  # the hook saw the steps


def begin() -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", WAITS], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def line(process: subprocess.Popen[str], stream: str = "stdout") -> str:
    return getattr(process, stream).readline().strip()


def test_the_second_of_two_processes_waits_and_then_has_nothing_to_do(offline_home: Path) -> None:
    with begin() as first:
        assert line(first) == "converting"
        with begin() as second:
            assert line(second, "stderr") == "Another process is fetching tiny: waiting for it."
            first.communicate("go on\n")
            # No "converting" before it: the model of the first is used.
            assert line(second) == "ready"
    assert (first.returncode, second.returncode) == (0, 0)
    assert {path.name for path in (offline_home / "models").iterdir()} == {"tiny", ".tiny.lock"}


def test_when_the_first_is_killed_the_second_goes_on(offline_home: Path) -> None:
    with begin() as first:
        assert line(first) == "converting"
        with begin() as second:
            assert "waiting" in line(second, "stderr")
            os.kill(first.pid, signal.SIGKILL)
            assert line(second) == "converting"
            second.communicate("go on\n")
    assert (first.returncode, second.returncode) == (-signal.SIGKILL, 0)
    assert {path.name for path in (offline_home / "models").iterdir()} == {"tiny", ".tiny.lock"}


def test_ctrl_c_leaves_nothing_half_done(offline_home: Path) -> None:
    with begin() as process:
        assert line(process) == "converting"
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate()[1]
    assert {path.name for path in (offline_home / "models").iterdir()} == {".tiny.lock"}
