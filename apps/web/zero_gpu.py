"""ZeroGPU: a Space whose requests get a GPU for seconds, each in a process that is forked for it.

Import this before torch: Hugging Face's `spaces` then takes the place of CUDA, so that weights can be "on the GPU" in a
process that has none. Elsewhere the package is absent, or does nothing, and neither does this.

What was read in spaces 0.51: the decorated generator must be called in Gradio's own thread, where the visitor's quota
is known; arguments and what it yields are pickled; of an exception only the name of its class comes back.
"""

import os
from collections.abc import Callable, Generator, Mapping
from threading import Event
from typing import Any, Protocol

try:
    from spaces import GPU
except ImportError:
    GPU = None

__all__ = ["SECONDS", "OnGpu", "is_zero_gpu", "on_gpu"]

SECONDS = 60
"""Seconds of a GPU that a request may take. The visitor's quota is charged for what was used, and a request is refused
where less than this is left of it: 300 a day for a free account, 120 without one."""

OnGpu = Callable[[str, dict[str, Any]], Generator[Any, None, None]]


class _Session(Protocol):
    def pipeline(self, task: str) -> Any: ...


def is_zero_gpu() -> bool:
    """Whether this is a Space on ZeroGPU."""
    return GPU is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in {"1", "t", "true"}


def on_gpu(session: _Session) -> OnGpu:
    """A function that answers a request on the GPU: pieces of text, (done, known) of parts, at last the Generation.

    It is made before the app is served, as ZeroGPU asks. An error is yielded, not raised, so that it arrives whole.
    """

    def answer(task: str, fields: Mapping[str, Any]) -> Generator[Any, None, None]:
        parts: list[tuple[int, int]] = []
        try:
            stream = session.pipeline(task).stream(
                cancel=Event(), on_progress=lambda done, known: parts.append((done, known)), **fields
            )
            for piece in stream:
                yield from parts
                parts.clear()
                yield piece
            yield stream.generation
        except Exception as error:
            yield error

    decorated: OnGpu = GPU(duration=SECONDS)(answer) if GPU else answer
    return decorated
