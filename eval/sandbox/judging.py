"""Run a program that nobody trusts: alone (``run``), or against tests that it cannot see (``judge``)."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Any, Literal

from eval.sandbox import wire
from eval.sandbox.output import collect
from eval.sandbox.tiers import Tier, available_tier, command, landlocked, readable_paths, refusal
from pipelines.errors import UnavailableError

__all__ = ["Limits", "Outcome", "Status", "judge", "required_tier", "run"]

Status = Literal[
    "passed", "failed", "error", "syntax", "timeout", "died", "output", "untested", "unsupported"
]  # fmt: skip
_STARTS = 3
_GRACE = 2.0  # seconds that the tests' process has to say that the time is over


@dataclass(frozen=True)
class Limits:
    """What a program may take.

    Attributes:
        cpu_seconds: Seconds of processor time, of the program and of the tests each.
        wall_seconds: Seconds until both are ended, whatever they wait for.
        memory_mb: Address space, the interpreter's own included.
        file_mb: Size of a file that it writes.
        output_bytes: Bytes of output that are kept; a program that writes more is ended.
    """

    cpu_seconds: int = 5
    wall_seconds: float = 15.0
    memory_mb: int = 512
    file_mb: int = 8
    output_bytes: int = 64 * 1024

    def resources(self) -> dict[str, int]:
        """As ``RLIMIT_…`` names and values."""
        return {
            "CPU": self.cpu_seconds,
            "AS": self.memory_mb << 20,
            "FSIZE": self.file_mb << 20,
            "NOFILE": 64,
            "CORE": 0,
        }


@dataclass(frozen=True)
class Outcome:
    """What came of a program.

    Attributes:
        status: ``passed``; ``failed`` a test; ``error``: it raised; ``syntax``: it does not parse; ``timeout``;
            ``died``: its process ended; ``output``: it wrote too much; ``untested``: no test called it;
            ``unsupported``: the tests ask for what cannot be had here, and say nothing about the program.
        detail: The failing line and what the program gave, or the error; at most about 1,500 characters.
        output: What it wrote to standard output and standard error; only of ``run``.
        tier: What kept it from the machine.
        seconds: Wall time, the start of the interpreters included.
    """

    status: Status
    detail: str
    output: str
    tier: Tier
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every test passed, or the program ended by itself without an error."""
        return self.status == "passed"


def judge(
    code: str,
    tests: str,
    *,
    entry_point: str | None = None,
    prelude: str = "",
    limits: Limits | None = None,
    tier: Tier | None = None,
) -> Outcome:
    """Run tests against a program in another process.

    Args:
        code: The program, Python.
        tests: Assertions, ``test_…`` functions, ``check(candidate)`` as HumanEval has it, or unittest's cases. They
            never enter the program's process, and name what it defines as if they stood below it.
        entry_point: The function that ``check`` gets.
        prelude: Trusted code that tests may use, such as helpers that stand before the signature.
        limits: What it may take.
        tier: By default the strongest that this machine has.

    Raises:
        UnavailableError: ``sandbox_none``: this machine has no tier; ``sandbox_broken``: it did not start.
    """
    tier, limits = tier or required_tier(), limits or Limits()
    request = {
        "code": code, "tests": tests, "prelude": prelude, "entry_point": entry_point,
        "limits": limits.resources(), "wall_seconds": limits.wall_seconds,
        "guest": _start_message(tier, limits), "parent": os.getpid(),
        "referee_readable": readable_paths() if landlocked() else None,
    }  # fmt: skip
    begun = time.monotonic()
    for _ in range(_STARTS):
        verdict = _referee(json.dumps(request).encode(), tier, limits)
        if verdict["status"] != "not_started":
            return Outcome(verdict["status"], verdict["detail"], "", tier, time.monotonic() - begun)
    raise UnavailableError("sandbox_broken", tier=tier, detail=verdict["detail"])


def run(code: str, *, stdin: str = "", limits: Limits | None = None, tier: Tier | None = None) -> Outcome:
    """Run a program as ``__main__`` and keep what it writes.

    Args:
        code: The program, Python.
        stdin: What it can read from standard input.
        limits: What it may take.
        tier: By default the strongest that this machine has.

    Raises:
        UnavailableError: As in ``judge``.
    """
    tier, limits = tier or required_tier(), limits or Limits()
    begun = time.monotonic()
    for _ in range(_STARTS):
        if outcome := _program(code, stdin.encode(), tier, limits, begun):
            return outcome
    raise UnavailableError("sandbox_broken", tier=tier, detail="")


def required_tier() -> Tier:
    """The tier of this machine.

    Raises:
        UnavailableError: ``sandbox_none``: it has none.
    """
    if tier := available_tier():
        return tier
    raise UnavailableError("sandbox_none", reason=refusal("bubblewrap"))


def _referee(request: bytes, tier: Tier, limits: Limits) -> dict[str, Any]:
    """Start guest and referee, joined by two pipes, and wait for the verdict; both are gone afterwards."""
    from_guest, to_referee = os.pipe()
    from_referee, to_guest = os.pipe()
    started: list[subprocess.Popen[bytes]] = []
    try:
        guest = command(tier, "guest.py", str(from_referee), str(to_referee))
        started.append(_start(guest, (from_referee, to_referee), subprocess.DEVNULL))
        referee = command("landlock", "referee.py", str(from_guest), str(to_guest))
        started.append(_start(referee, (from_guest, to_guest), subprocess.PIPE))
    finally:
        for descriptor in (from_guest, to_referee, from_referee, to_guest):
            os.close(descriptor)
        if len(started) == 1:
            _end(started[0])
    guest_process, referee_process = started
    try:
        said, _ = referee_process.communicate(request, timeout=limits.wall_seconds + _GRACE)
        verdict = json.loads(said or b"null")
        if verdict and verdict["status"] == "died" and _used_up(guest_process):
            verdict["status"] = "timeout"
    except subprocess.TimeoutExpired:
        return {"status": "timeout", "detail": "the tests did not end"}
    finally:
        _end(guest_process)
        _end(referee_process)
    return verdict or {"status": "timeout" if _used_up(referee_process) else "failed", "detail": "the tests ended"}


def _program(code: str, stdin: bytes, tier: Tier, limits: Limits, begun: float) -> Outcome | None:
    """One try of ``run``; None where the guest did not start."""
    from_guest, to_parent = os.pipe()
    from_parent, to_guest = os.pipe()
    its_input, to_input = os.pipe()
    try:
        line = command(tier, "guest.py", str(from_parent), str(to_parent))
        process = _start(line, (from_parent, to_parent), its_input, subprocess.STDOUT)
    except BaseException:
        for descriptor in (from_guest, to_guest, to_input):
            os.close(descriptor)
        raise
    finally:
        for descriptor in (from_parent, to_parent, its_input):
            os.close(descriptor)
    messages: tuple[dict[str, Any], ...] = (_start_message(tier, limits), {"do": "run", "with": [code]})
    data = b"".join(wire.framed(wire.encode(message)) for message in messages)
    deadline = begun + limits.wall_seconds
    try:
        found = collect(process, from_guest, ((to_guest, data), (to_input, stdin)), deadline, limits.output_bytes)
    finally:
        _end(process)
        os.close(from_guest)
    if not found.ready:
        return None
    status: Status = "passed" if process.returncode == 0 else "error"
    if found.stopped:
        status = found.stopped
    elif _used_up(process):
        status = "timeout"
    elif process.returncode < 0 or process.returncode > 128:
        status = "died"
    lines = found.output.rstrip().splitlines()
    detail = lines[-1][:500] if status == "error" and lines else ""
    return Outcome(status, detail, found.output, tier, time.monotonic() - begun)


def _used_up(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process ended because it had used up its processor time; SIGXCPU, which bubblewrap tells as a sum."""
    try:
        return process.wait(_GRACE) in (-signal.SIGXCPU, 128 + signal.SIGXCPU)
    except subprocess.TimeoutExpired:
        return False


def _start_message(tier: Tier, limits: Limits) -> dict[str, Any]:
    """What the guest takes from itself; bubblewrap has hidden files and processes from it already."""
    alone = tier == "landlock"
    return {
        "limits": limits.resources(),
        "readable": readable_paths() if alone else None,
        "parent": os.getpid() if alone else None,
    }


def _start(
    line: list[str], descriptors: tuple[int, int], stdin: int, stderr: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """No environment, no other descriptor, a session of its own; no code of ours between fork and exec."""
    stdout = subprocess.DEVNULL if stdin == subprocess.DEVNULL else subprocess.PIPE
    return subprocess.Popen(
        line,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=descriptors,
        env={},
        cwd="/",
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()
