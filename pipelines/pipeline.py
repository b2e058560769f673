"""Pipeline: a task on an engine. Call it, stream it, give it a batch."""

import random
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Literal, overload

from pipelines.engines.base import Call, CallsFailedError, Completion, Engine
from pipelines.errors import CinquainError, InputError
from pipelines.generation import Generation
from pipelines.prompts import Prompt
from pipelines.requests import split_options, validate
from pipelines.tasks.base import Step, Task
from pipelines.work import Work

__all__ = ["Pipeline", "Stream"]

Progress = Callable[[int, int], None]
"""Called with (model calls done, model calls known so far)."""


class Pipeline:
    """A task bound to an engine.

    Args:
        task: What is asked.
        engine: What answers.
        prompt: The wording to use instead of the task's own, or of the one that an adapter was trained with.
    """

    def __init__(self, task: Task[Any], engine: Engine, prompt: Prompt | None = None) -> None:
        self.task = task
        self.engine = engine
        self.prompt = prompt

    def wording(self, adapter: str | None = None) -> tuple[Engine, Prompt]:
        """The engine as requests under an adapter see it, and the prompt that serves them.

        Raises:
            InputError: The model cannot do the task, has no such adapter, or the adapter has another prompt.
        """
        engine = self.engine.view(adapter)
        engine.check_task(self.task.name)
        return engine, engine.wording(self.task.name, self.prompt)

    def __call__(self, *, on_progress: Progress | None = None, **fields: Any) -> Generation:
        """Answer one request; request fields and generation options as keywords.

        Raises:
            InputError: A field, an option or the input is wrong.
        """
        stream = self.stream(on_progress=on_progress, **fields)
        for _ in stream:
            pass
        return stream.generation

    def stream(
        self, *, cancel: threading.Event | None = None, on_progress: Progress | None = None, **fields: Any
    ) -> "Stream":
        """Answer one request piece by piece. The pieces joined are exactly ``stream.generation.text``."""
        return Stream(self._work(fields), cancel or threading.Event(), on_progress)

    @overload
    def batch(
        self, requests: Sequence[Mapping[str, Any]], *, errors: Literal["raise"] = "raise",
        cancel: threading.Event | None = None, on_progress: Progress | None = None, **options: Any,
    ) -> list[Generation]: ...  # fmt: skip

    @overload
    def batch(
        self, requests: Sequence[Mapping[str, Any]], *, errors: Literal["return"],
        cancel: threading.Event | None = None, on_progress: Progress | None = None, **options: Any,
    ) -> list[Generation | CinquainError]: ...  # fmt: skip

    def batch(
        self,
        requests: Sequence[Mapping[str, Any]],
        *,
        errors: Literal["raise", "return"] = "raise",
        cancel: threading.Event | None = None,
        on_progress: Progress | None = None,
        **options: Any,
    ) -> list[Any]:
        """Answer many requests at once; results in the order of the requests.

        Args:
            requests: Fields of each request; generation options beside them count for that request alone.
            errors: ``raise`` the first error before anything runs where it can be known, or ``return`` each error in
                the place of its result.
            cancel: Set it from another thread to stop all of them.
            on_progress: Called as model calls end.
            options: Generation options for all requests.
        """
        outcomes: list[Any] = [None] * len(requests)
        active: dict[int, Work] = {}
        for index, fields in enumerate(requests):
            try:
                if not isinstance(fields, Mapping):
                    raise InputError("pipeline_fields_not_a_mapping", index=index, found=type(fields).__name__)
                active[index] = self._work({**options, **fields})
                active[index].advance()
            except CinquainError as error:
                if errors == "raise":
                    raise
                active.pop(index, None)
                outcomes[index] = error
        done = 0
        while active:
            for index in [index for index, work in active.items() if work.step is None]:
                outcomes[index] = active.pop(index).generation()
            # All works take their next step together, so that the engine sees as many calls at once as there are.
            owners = [(work, call) for work in active.values() for call in work.calls()]
            results = _run_calls(self.engine, [call for _, call in owners], cancel, on_progress, done)
            done += len(owners)
            by_work: dict[int, list[Completion | CinquainError]] = {id(work): [] for work in active.values()}
            for (work, _), result in zip(owners, results, strict=True):
                by_work[id(work)].append(result)
            for index, work in list(active.items()):
                try:
                    work.receive(_all_completed(by_work[id(work)]))
                except CinquainError as error:
                    if errors == "raise":
                        raise
                    outcomes[index] = error
                    del active[index]
        return outcomes

    def _work(self, keywords: Mapping[str, Any]) -> Work:
        """A request that has not begun yet.

        Raises:
            InputError: A field or an option is wrong.
        """
        fields, given = split_options(self.task.request_type, keywords, self.task.name)
        options = given.over(self.task.defaults)
        if options.temperature and options.seed is None:
            # A seed is drawn here, not in the engine, so that the result can say which one repeats it.
            options = options.model_copy(update={"seed": random.getrandbits(31)})
        request = validate(self.task.request_type, fields, self.task.name)
        engine, prompt = self.wording(options.adapter)
        return Work(self.task, engine, prompt, request, options)


class Stream(Iterator[str]):
    """Text as it is generated; afterwards ``generation`` holds the whole result.

    ``close()`` or ``cancel()`` ends the model's work within one token, and so does leaving the loop where nothing else
    holds the stream. Until then the engine belongs to it, and other requests wait.
    """

    def __init__(self, work: Work, cancel: threading.Event, on_progress: Progress | None) -> None:
        self._work = work
        self._cancel = cancel
        self._pieces = _pieces(work, cancel, on_progress)

    def __next__(self) -> str:
        """The next piece of text, never empty."""
        return next(self._pieces)

    def cancel(self) -> None:
        """Ask for an end from any thread; the loop ends within one token with what there is."""
        self._cancel.set()

    def close(self) -> None:
        """End now; ``generation`` holds what there is, as cancelled."""
        self._pieces.close()
        self._work.interrupt("cancelled")  # a stream that was never begun has no loop that would notice

    @property
    def generation(self) -> Generation:
        """The result so far; complete once the loop has ended."""
        return self._work.generation()


def _pieces(work: Work, cancel: threading.Event, on_progress: Progress | None) -> Generator[str, None, None]:
    """Drive a work; no method of ``Stream``, as the two would keep each other, and the engine's lock, alive."""
    done = 0
    completions: list[Completion]
    try:
        yield from work.advance()
        while work.step is not None:
            calls, completions = work.calls(), []
            if live := work.step.show is not None and len(calls) == 1:
                yield from _live(work, work.step, calls[0], cancel, completions)
                if on_progress:
                    on_progress(done + 1, done + 1)
            else:
                completions = _all_completed(_run_calls(work.engine, calls, cancel, on_progress, done))
            done += len(calls)
            yield from work.receive(completions, shown=live)
    except GeneratorExit:
        work.interrupt("cancelled")
        raise


def _live(work: Work, step: Step, call: Call, cancel: threading.Event, completions: list[Completion]) -> Iterator[str]:
    """Show the reply of one call as it grows."""
    assert step.show is not None
    reply, shown = "", ""
    with closing(work.engine.stream(call, cancel)) as items:
        for item in items:
            if isinstance(item, Completion):
                completions.append(item)
                text = step.show(item.text, True)
            else:
                work.saw_token()
                reply += item
                text = step.show(reply, False)
            if not text.startswith(shown):
                raise AssertionError(f"{work.task.name} showed {shown!r} and then {text!r}")
            if len(text) > len(shown):
                work.text.append(text[len(shown) :])
                yield text[len(shown) :]
                shown = text


def _run_calls(
    engine: Engine, calls: list[Call], cancel: threading.Event | None, on_progress: Progress | None, done: int
) -> list[Completion | CinquainError]:
    """Make calls together; ``done`` counts the calls that came before them."""
    if not calls:
        return []
    finished = 0

    def count(_index: int, _completion: Completion) -> None:
        nonlocal finished
        finished += 1
        if on_progress:
            on_progress(done + finished, done + len(calls))

    try:
        return list(engine.batch(calls, cancel, count))
    except CallsFailedError as error:
        return error.outcomes


def _all_completed(results: list[Completion | CinquainError]) -> list[Completion]:
    """The completions of one request, or the error of the first that failed."""
    completions = []
    for result in results:
        if isinstance(result, CinquainError):
            raise result
        completions.append(result)
    return completions
