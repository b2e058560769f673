"""Reading what a program writes while it is fed, within a time and a size."""

import os
import selectors
import subprocess
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

__all__ = ["Collected", "collect"]


@dataclass
class Collected:
    """What was read.

    Attributes:
        ready: Whether the guest had said that its rights are gone.
        output: Text of the program, with replacement characters for what is no UTF-8.
        stopped: Why it was ended, None where it ended by itself.
    """

    ready: bool
    output: str
    stopped: Literal["timeout", "output"] | None


def collect(
    process: subprocess.Popen[bytes], answers: int, feeds: Iterable[tuple[int, bytes]], deadline: float, largest: int
) -> Collected:
    """Write to descriptors and read a process's output, none of which can block, until it ends or is ended.

    Args:
        process: What was started, its output in a pipe.
        answers: Where the guest says that it is ready.
        feeds: Descriptors and what is written to each; they are closed afterwards.
        deadline: In seconds of ``time.monotonic``.
        largest: Bytes of output that are kept; more ends the program.
    """
    assert process.stdout is not None
    waiting = dict(feeds)
    output, ready = bytearray(), False
    stopped: Literal["timeout", "output"] | None = None
    with ExitStack() as opened, selectors.DefaultSelector() as selector:
        for descriptor in waiting:
            opened.callback(_close, waiting, descriptor)
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_WRITE)
        selector.register(process.stdout.fileno(), selectors.EVENT_READ)
        selector.register(answers, selectors.EVENT_READ)
        reading = True
        while reading and stopped is None:
            left = deadline - time.monotonic()
            if left <= 0:
                stopped = "timeout"
                break
            for key, _ in selector.select(left):
                if key.fd in waiting:
                    if not _write(key.fd, waiting):
                        selector.unregister(key.fd)
                elif data := os.read(key.fd, 1 << 16):
                    if key.fd == answers:
                        ready = True
                    else:
                        output += data
                else:
                    selector.unregister(key.fd)
                    reading = reading and key.fd != process.stdout.fileno()
            if len(output) > largest:
                stopped = "output"
    if stopped is None:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            stopped = "timeout"
    return Collected(ready, output[:largest].decode("utf-8", "replace"), stopped)


def _write(descriptor: int, waiting: dict[int, bytes]) -> bool:
    """Write what fits; False once all is written or nobody reads, and the descriptor is closed."""
    try:
        waiting[descriptor] = waiting[descriptor][os.write(descriptor, waiting[descriptor]) :]
    except BlockingIOError:
        return True
    except OSError:
        waiting[descriptor] = b""
    if waiting[descriptor]:
        return True
    _close(waiting, descriptor)
    return False


def _close(waiting: dict[int, bytes], descriptor: int) -> None:
    if waiting.pop(descriptor, None) is not None:
        os.close(descriptor)
