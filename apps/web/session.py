"""The one model that all pages share: loaded in the background, asked by one request at a time."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from apps.web.turns import Turns
from apps.web.zero_gpu import OnGpu
from eval.sandbox import available_tier, judged_code_generation
from pipelines.engines.base import Engine
from pipelines.errors import CinquainError
from pipelines.pipeline import Pipeline
from pipelines.tasks import TASKS

__all__ = ["Session", "runs_code"]


def runs_code() -> bool:
    """Whether programs are run here: in a sandbox that holds, and never on a public Space."""
    return "SPACE_ID" not in os.environ and available_tier() is not None


class Session:
    """An engine, the five pipelines over it, and the requests that are running.

    The page is served while the engine loads; a request waits for it.

    Args:
        reference: Model reference, for the title.
        load: Makes the engine. It runs in a thread of its own.

    Attributes:
        turns: Who may ask the model next.
        on_gpu: What answers a request in another process (``zero_gpu.on_gpu``), where this one has no GPU of its own.
    """

    def __init__(self, reference: str, load: Callable[[], Engine]) -> None:
        self.reference = reference
        self.turns = Turns()
        self.on_gpu: OnGpu | None = None
        self._settled = threading.Event()
        self._engine: Engine | None = None
        self._error: Exception | None = None
        self._running: dict[tuple[str, str], threading.Event] = {}
        self._load_engine = load

    def start(self) -> "Session":
        """Begin to load."""
        # A daemon, so that Ctrl-C need not wait for a model of several gigabytes.
        threading.Thread(target=self.load, name="load-model", daemon=True).start()
        return self

    def load(self) -> None:
        """Load here and now; ``start`` does it in the background."""
        try:
            self._engine = self._load_engine()
            if self.on_gpu:
                self._engine.keep_nothing()
        except CinquainError as error:
            self._error = error
        except Exception as error:
            # Whatever a library raises must reach the page, or its requests would wait for ever.
            self._error = CinquainError(
                "web_model_failed", model=self.reference, problem=f"{type(error).__name__}: {error}"
            )
            self._error.__cause__ = error
        finally:
            self._settled.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until loading has ended, well or badly; False when the time ran out first."""
        return self._settled.wait(seconds)

    @property
    def error(self) -> Exception | None:
        """Why the model could not be loaded, once that is known."""
        return self._error

    def pipeline(self, task: str) -> Pipeline:
        """The pipeline of a task on the shared engine; waits for the engine.

        Raises:
            CinquainError: The model could not be loaded.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        assert self._engine is not None
        if task == "code_generation" and runs_code():
            return Pipeline(judged_code_generation(), self._engine)
        return Pipeline(TASKS[task](), self._engine)

    @contextmanager
    def request(self, visitor: str, task: str) -> Iterator[threading.Event]:
        """Register a request as running, so that ``stop`` finds it. Leaving the block stops it in any case."""
        cancel = threading.Event()
        self._running[visitor, task] = cancel
        try:
            yield cancel
        finally:
            # Reached when a browser tab is closed, too: Gradio closes the generator that is suspended in this block.
            cancel.set()
            if self._running.get((visitor, task)) is cancel:
                del self._running[visitor, task]

    def stop(self, visitor: str, task: str) -> None:
        """Stop this visitor's running request of a task, if there is one; nobody else's."""
        if cancel := self._running.get((visitor, task)):
            cancel.set()
