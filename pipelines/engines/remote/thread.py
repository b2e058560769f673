"""A coroutine in a thread of its own, so that a plain function can wait for it, or end it, whatever it waits for."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

__all__ = ["Background"]

_STOP_S = 5.0
"""Seconds to wait for a stopped thread. Closing connections takes milliseconds; only the system's look-up of a name
cannot be interrupted."""


class Background:
    """Runs a coroutine until it ends or is stopped.

    A thread, because the caller may have an event loop already (notebooks, web servers) or none.

    Args:
        main: Makes the coroutine.

    Attributes:
        error: What the coroutine raised, if it did.
    """

    def __init__(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.error: BaseException | None = None
        self._main = main
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cinquain-remote", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def stop(self) -> None:
        """Cancel the coroutine, and wait until it has closed what it holds."""
        self._begun.wait()
        if self._loop and self._task and self._thread.is_alive():
            with suppress(RuntimeError):  # it ended in this moment, and its loop is closed
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        async def begin() -> None:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            self._begun.set()
            await self._main()

        try:
            asyncio.run(begin())
        except asyncio.CancelledError:
            pass
        except Exception as error:
            self.error = error
        finally:
            self._begun.set()
