"""The staged Space in an environment of its own, started as a Space is, and asked.

What this cannot show is said in the report: Python 3.12, ZeroGPU and the Hub's own build were not executed.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.publish.asking import Reply, ask
from apps.publish.closure import ROOT
from apps.publish.requirements import gradio_version, install_line
from apps.publish.staging import Staged
from apps.web.space import SETTINGS
from pipelines.errors import CinquainError
from pipelines.home import disk_errors, home

__all__ = ["Trial", "environment", "try_space"]

_READY_S = 180.0
_LINES = 12


@dataclass(frozen=True)
class Trial:
    """What came of running a Space here.

    Attributes:
        python: Version that ran it.
        ready_s: Seconds until its page answered.
        replies: What its endpoints answered.
        memory: Largest resident memory of its process, in bytes; None where the system does not tell.
    """

    python: str
    ready_s: float
    replies: tuple[Reply, ...]
    memory: int | None


def environment(staged: Staged) -> Path:
    """The Python of a fresh environment that holds what the Space installs; kept for the next time.

    The versions are those of ``spaces/constraints.txt``, but for torch, which is the one that runs here.

    Raises:
        CinquainError: ``publish_install`` with the last lines of pip.
    """
    lines = (staged.folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if not line.startswith(("--", "torch=="))]
    wanted += [*install_line(gradio_version()), f"torch=={_torch()}"]
    constraints = (ROOT / "spaces" / "constraints.txt").read_text(encoding="utf-8")
    pins = "\n".join(line for line in constraints.splitlines() if not line.startswith("torch=="))
    key = hashlib.sha256("\n".join([sys.version, pins, *wanted]).encode()).hexdigest()[:16]
    place = home() / "publish" / "environments" / key
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if (place / "complete").is_file():
        return python
    with disk_errors(place):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "constraints.txt").write_text(pins + "\n", encoding="utf-8")
    _run([sys.executable, "-m", "venv", str(place)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "-c", str(place / "constraints.txt"), *wanted])
    (place / "complete").touch()
    return python


def try_space(staged: Staged, endpoints: Sequence[str], *, model: str, adapter: str | None, python: Path) -> Trial:
    """Start a Space as Hugging Face does, ask it, end it.

    Args:
        staged: The Space; a copy of it runs.
        endpoints: What to ask.
        model: Its model on this machine, which may not be on the Hub yet.
        adapter: Its adapter on this machine.
        python: Interpreter, of ``environment``.

    Raises:
        CinquainError: ``publish_not_started`` with its last lines; ``publish_no_answer``.
    """
    with tempfile.TemporaryDirectory(prefix="cinquain-space-") as temporary:
        folder = Path(temporary) / "app"
        shutil.copytree(staged.folder, folder)
        settings = json.loads((folder / SETTINGS).read_bytes()) | {"model": model, "adapter": adapter}
        (folder / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
        log = Path(temporary) / "log"
        port = _free_port()
        began = time.monotonic()
        with _running([str(python), "app.py"], folder, _variables(port), log) as process:
            _await(process, port, log)
            ready = time.monotonic() - began
            replies = tuple(ask(f"http://127.0.0.1:{port}", endpoint) for endpoint in endpoints)
            memory = _peak(process.pid)
    return Trial(_version(python), ready, replies, memory)


def _variables(port: int) -> dict[str, str]:
    """What a Space finds in its environment; nothing of this machine that it would not have."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "CINQUAIN_HOME", "HF_HOME", "SYSTEMROOT")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    return own | {
        "SYSTEM": "spaces", "SPACE_ID": "user/trial", "SPACE_HOST": "127.0.0.1", "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "PYTHONNOUSERSITE": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
    }  # fmt: skip


@contextmanager
def _running(
    call: list[str], folder: Path, variables: dict[str, str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            call, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Wait until its port answers."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:]
    raise CinquainError("publish_not_started", lines="\n".join(lines) or "–")


def _peak(pid: int) -> int | None:
    """Largest resident memory so far; Linux tells it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)


def _run(call: list[str], **settings: Any) -> str:
    done = subprocess.run(call, capture_output=True, text=True, stdin=subprocess.DEVNULL, **settings)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise CinquainError("publish_install", problem=" ".join(lines)[:600])
    return done.stdout


def _version(python: Path) -> str:
    return _run([str(python), "-c", "import platform; print(platform.python_version())"]).strip()


def _torch() -> str:
    from importlib.metadata import version

    return version("torch").partition("+")[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
