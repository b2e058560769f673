"""How a program is kept from the machine: bubblewrap, or Landlock; and whether that holds here, tried at the first use.

Both tiers share what the guest takes from itself (``kernel``): no new process or program, no socket, no signal to
another process, limits of memory, time and files. Bubblewrap adds namespaces of its own: an empty folder of 16 MB to
write to, no other process to see, no network at all. Landlock leaves nothing to write but ``/dev/null``.
"""

import os
import shutil
import socket
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal

from eval.sandbox import kernel

__all__ = ["Tier", "available_tier", "command", "holds", "landlocked", "readable_paths", "refusal"]

Tier = Literal["bubblewrap", "landlock"]

_FOLDER = Path(__file__).resolve().parent
_FILES = ("guest.py", "kernel.py", "wire.py")
"""Of this folder, what lies within reach of a program: nothing secret."""
_SCRATCH_BYTES = 16 << 20
# What a program tries in the self-test; each must fail. HIDDEN and PORT are filled in.
_PROBE = """
import os, socket
def found():
    open_doors = []
    try:
        open(HIDDEN).close()
        open_doors.append("files")
    except OSError:
        pass
    try:
        socket.create_connection(("127.0.0.1", PORT), 1)
        open_doors.append("network")
    except OSError:
        pass
    try:
        if os.fork() == 0:
            os._exit(0)
        open_doors.append("processes")
    except OSError:
        pass
    return open_doors
"""


@cache
def available_tier() -> Tier | None:
    """The strongest tier that this machine has and that holds; None: programs are not run here, see ``refusal``."""
    return next((tier for tier in ("bubblewrap", "landlock") if refusal(tier) is None), None)


@cache
def refusal(tier: Tier) -> str | None:
    """Why a tier cannot be used, as a term of ``wording``; None where it can."""
    if not kernel.SUPPORTED:
        return "other_system"
    if tier == "bubblewrap" and shutil.which("bwrap") is None:
        return "no_bubblewrap"
    return None if holds(tier) else "sandbox_leaks"


def holds(tier: Tier) -> bool:
    """Whether a program that tries to read a file, reach a port and start a process is refused all three."""
    from eval.sandbox.judging import judge

    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        hidden = Path(folder) / "hidden"
        hidden.write_text("hidden", encoding="utf-8")
        probe = _PROBE.replace("HIDDEN", repr(str(hidden))).replace("PORT", str(server.getsockname()[1]))
        return judge(probe, "assert found() == []", tier=tier).passed


@cache
def landlocked() -> bool:
    """Whether this kernel has Landlock, which hides files from the tests too."""
    return kernel.landlock_version() > 0


def readable_paths() -> list[str]:
    """What a program may read: Python's own library, shared libraries, time zones, this folder's three files."""
    python = Path(sys.base_prefix)
    shared = ("/usr/lib", "/lib", "/lib64", "/usr/share/zoneinfo", "/etc/localtime")
    paths = [python / "lib", *map(Path, shared), *(_FOLDER / name for name in _FILES)]
    return [str(path) for path in paths if path.exists()]


def command(tier: Tier, script: str, *arguments: str) -> list[str]:
    """The command line that starts a script of this folder inside a tier.

    Args:
        tier: ``bubblewrap`` gives it namespaces of its own; in ``landlock`` it restricts itself.
        script: Name of the file.
        arguments: What it is told.
    """
    python = [os.path.realpath(sys.executable), "-I", "-S", "-B"]
    if tier == "landlock":
        return [*python, str(_FOLDER / script), *arguments]
    prefix = sys.base_prefix
    bound = ["--ro-bind", "/usr", "/usr"] + ([] if prefix.startswith("/usr") else ["--ro-bind", prefix, prefix])
    for link in ("/lib", "/lib64", "/bin"):
        path = Path(link)
        if path.is_symlink():
            bound += ["--symlink", str(path.readlink()), link]
        elif path.is_dir():
            bound += ["--ro-bind", link, link]
    for name in _FILES:
        bound += ["--ro-bind", str(_FOLDER / name), f"/guest/{name}"]
    if Path("/etc/localtime").exists():
        bound += ["--ro-bind", "/etc/localtime", "/etc/localtime"]
    return [
        shutil.which("bwrap") or "bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", "--clearenv", "--setenv", "PATH", "/usr/bin:/bin", *bound,
        "--dev", "/dev", "--size", str(_SCRATCH_BYTES), "--tmpfs", "/tmp", "--remount-ro", "/dev", "--remount-ro", "/",
        "--chdir", "/tmp", *python, f"/guest/{script}", *arguments,
    ]  # fmt: skip
