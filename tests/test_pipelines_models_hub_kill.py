"""``kill -9`` before every step of fetching a Hub model: the next run makes it whole, at the same commit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doubles.fake_hub import FakeHub, use_hub
from tests.doubles.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
ROOT = Path(__file__).resolve().parent.parent

KILL_EVERYWHERE = '''
import json, os, shutil, signal, sys
from pathlib import Path
from pipelines.models import resolve
from pipelines.models.hub.pins import pins_of
from pipelines.models.hub.cache import cache_folder
import huggingface_hub.errors, huggingface_hub.file_download, filelock  # imports are no steps to be killed at

FOLDERS = (os.environ["CINQUAIN_HOME"], os.environ["HF_HOME"])
STEPS = {"open", "os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.chmod", "socket.connect"}

def killed_at(step, work):
    """Run ``work`` in a process that is killed just before its operation number ``step``; False if it ended."""
    child = os.fork()
    if child == 0:
        left = step
        def hook(event, arguments):
            nonlocal left
            if event in STEPS and (event != "open" or str(arguments[0]).startswith(FOLDERS)):
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
    return resolve("org/name", quiet=True)

fetch()  # warms up what a process imports late
kills, wrong = 0, []
while True:
    for folder in FOLDERS:
        shutil.rmtree(folder, ignore_errors=True)
    if not killed_at(kills, fetch):
        break
    pinned = pins_of("org/name")
    source = fetch()
    if pinned and pinned["main"].commit != source.revision:
        wrong.append(f"{kills}: another commit")
    if source.path.stat().st_size != int(sys.argv[1]):
        wrong.append(f"{kills}: cut")
    if left := [path.name for path in cache_folder().rglob("*.incomplete")]:
        wrong.append(f"{kills}: {left}")
    kills += 1
print(json.dumps({"kills": kills, "wrong": wrong}))
'''


def test_a_kill_at_any_step_leaves_what_the_next_run_makes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf").read_bytes()
    with FakeHub() as hub:
        use_hub(hub, tmp_path, monkeypatch)
        hub.add("org/name", {"tiny.gguf": gguf})
        call = [sys.executable, "-c", KILL_EVERYWHERE, str(len(gguf))]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["wrong"] == [], result
    assert result["kills"] > 15  # the hook saw the steps
