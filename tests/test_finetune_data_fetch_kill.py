"""``kill -9`` at every file operation and a full disk: what lies there is whole, and the next run makes it right."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.data.fetch import fetch
from tests.doubles.wheels import chat, chats, use

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL, fork and file size limits")
ROOT = Path(__file__).parent.parent

PROGRAM = """
import dataclasses, hashlib, json, os, resource, signal, sys
from pathlib import Path
from finetune.data.fetch import SETS, fetch
from finetune.data.fetch.description import Pin
from pipelines.errors import CinquainError

wheel, out = Path(sys.argv[1]), Path(sys.argv[2])
SETS["chitchat"] = dataclasses.replace(SETS["chitchat"], pins=(Pin(**json.loads(sys.argv[3])),))
card = out.with_name(out.name + ".card.json")
"""

KILLED_ANYWHERE = """
def child(kill_at, **arguments):
    seen = 0
    def watch(event, given):
        nonlocal seen
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod") and str(out.parent) in repr(given):
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    sys.addaudithook(watch)
    fetch("chitchat", out, source=wheel, **arguments)
    os._exit(0)

def content():
    return [path.read_bytes() if path.exists() else None for path in (out, card)]

def fresh(before):
    for path in out.parent.glob("*") if out.parent.is_dir() else ():
        path.unlink()
    if before:
        fetch("chitchat", out, source=wheel, limit=before)

wrong, kills = [], []
for before in (0, 2):
    fresh(before)
    old = content()
    fetch("chitchat", out, source=wheel)
    new = content()
    for kill_at in range(1, 1000):
        fresh(before)
        status = child(kill_at)
        rows, account = content()
        # Rows never lie beside an account of others, and are never a part.
        if rows is not None and [rows, account] not in (old, new):
            wrong.append([before, kill_at, "mixed"])
        if status and child(0):
            wrong.append([before, kill_at, "stuck"])
        if content() != new:
            wrong.append([before, kill_at, "other bytes"])
        if {path.name for path in out.parent.iterdir()} != {out.name, card.name}:
            wrong.append([before, kill_at, "left over"])
        if not status:
            break
    kills.append(kill_at - 1)
print(json.dumps([kills, wrong]))
"""

FULL_DISK = """
limit = int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    fetch("chitchat", out, source=wheel)
except CinquainError as error:
    print(error.code, "|", error)
"""


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """The wheel of the chats and its pin, for another process."""
    talk = ("a: Hi", "b: Hello there", "a: How are you?")
    path, pinned = chats(tmp_path, {f"chat{number}": chat(*talk, f"b: It is {number}") for number in range(40)})
    use(monkeypatch, "chitchat", pinned)
    return path, json.dumps(dataclasses.asdict(pinned))


def ran(program: str, *arguments: str) -> str:
    call = [sys.executable, "-c", PROGRAM + program, *arguments]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_killed_anywhere_the_next_run_makes_it_right(wheel: tuple[Path, str], tmp_path: Path) -> None:
    path, pinned = wheel
    kills, wrong = json.loads(ran(KILLED_ANYWHERE, str(path), str(tmp_path / "made" / "rows.jsonl"), pinned))
    assert wrong == []
    assert min(kills) > 8  # the hook saw the steps


@pytest.mark.parametrize("limit", [100, 1500])
def test_a_full_disk_leaves_what_was_there(wheel: tuple[Path, str], tmp_path: Path, limit: int) -> None:
    path, pinned = wheel
    out = tmp_path / "made" / "rows.jsonl"
    fetch("chitchat", out, source=path, limit=3)
    before = {each.name: each.read_bytes() for each in out.parent.iterdir()}
    assert len(before["rows.jsonl.card.json"]) < 1500  # the second limit stops the writing of the rows
    said = ran(FULL_DISK, str(path), str(out), pinned, str(limit))
    assert said.startswith("disk_full | The disk is full")
    assert {each.name: each.read_bytes() for each in out.parent.iterdir()} == before


def test_ctrl_c_leaves_nothing(wheel: tuple[Path, str], tmp_path: Path) -> None:
    path, pinned = wheel
    out = tmp_path / "made" / "rows.jsonl"
    (temporary := tmp_path / "temporary").mkdir()
    program = """
import tempfile
tempfile.tempdir = sys.argv[4]
def watch(event, given):
    if event == "os.rename" and str(out.parent) in repr(given):
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(watch)
try:
    fetch("chitchat", out, source=wheel)
except KeyboardInterrupt:
    print("stopped", os.listdir(sys.argv[4]), sorted(os.listdir(out.parent)))
"""
    assert ran(program, str(path), str(out), pinned, str(temporary)) == "stopped [] []\n"
    assert list(temporary.iterdir()) == []
