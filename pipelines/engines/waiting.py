"""Waiting for an engine that serves one request at a time, without waiting longer than the request itself would."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["turn"]

LOOK_S = 0.05
"""Seconds after which a waiting request looks whether it was cancelled meanwhile. The lock itself wakes it at once."""


@contextmanager
def turn(lock: threading.Lock, over: Callable[[], bool]) -> Iterator[None]:
    """Run the block while holding the lock, or without it when there is nothing left to do.

    Args:
        lock: The engine's.
        over: Whether all that waits has been cancelled or is past its deadline.
    """
    while not (locked := lock.acquire(timeout=LOOK_S)):
        if over():
            break
    try:
        yield
    finally:
        if locked:
            lock.release()
