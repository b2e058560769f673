"""Pipeline: a task on an engine. Call it, stream it, give it a batch."""

import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal, overload

from pipelines.engines.base import Call, Completion, Engine
from pipelines.errors import CinquainError, InputError
from pipelines.generation import FinishReason, Generation, GenerationOptions, Note, Timing, Usage
from pipelines.prompts import Prompt
from pipelines.requests import TaskRequest, split_options, validate
from pipelines.tasks.base import Run, Step, Stopped, Task

__all__ = ["Pipeline", "Stream"]

Progress = Callable[[int, int], None]
"""Called with (model calls done, model calls known so far)."""

_SEVERITY: tuple[FinishReason, ...] = ("stop", "length", "deadline", "cancelled")


class Pipeline:
    """A task bound to an engine.

    Args:
        task: What is asked.
        engine: What answers.
        prompt: The wording to use.
    """

    def __init__(self, task: Task[Any], engine: Engine, prompt: Prompt) -> None:
        self.task = task
        self.engine = engine
        self.prompt = prompt

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
        request, options = self._prepared(fields)
        cancel = cancel or threading.Event()
        return Stream(_Work(self, request, options), cancel, on_progress)

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
        active: dict[int, _Work] = {}
        for index, fields in enumerate(requests):
            try:
                if not isinstance(fields, Mapping):
                    raise InputError("pipeline_fields_not_a_mapping", index=index, found=type(fields).__name__)
                active[index] = _Work(self, *self._prepared({**options, **fields}))
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
            completions = self._run_calls([call for _, call in owners], cancel, on_progress, done)
            done += len(owners)
            by_work: dict[int, list[Completion]] = {id(work): [] for work in active.values()}
            for (work, _), completion in zip(owners, completions, strict=True):
                by_work[id(work)].append(completion)
            for index, work in list(active.items()):
                try:
                    work.receive(by_work[id(work)])
                except CinquainError as error:
                    if errors == "raise":
                        raise
                    outcomes[index] = error
                    del active[index]
        return outcomes

    def _run_calls(
        self, calls: list[Call], cancel: threading.Event | None, on_progress: Progress | None, done: int
    ) -> list[Completion]:
        if not calls:
            return []
        finished = 0

        def count(_index: int, _completion: Completion) -> None:
            nonlocal finished
            finished += 1
            if on_progress:
                on_progress(done + finished, done + len(calls))

        return self.engine.batch(calls, cancel, count)

    def _prepared(self, keywords: Mapping[str, Any]) -> tuple[TaskRequest, GenerationOptions]:
        fields, given = split_options(self.task.request_type, keywords, self.task.name)
        options = given.over(self.task.defaults)
        if options.temperature and options.seed is None:
            # A seed is drawn here, not in the engine, so that the result can say which one repeats it.
            options = options.model_copy(update={"seed": random.getrandbits(31)})
        return validate(self.task.request_type, fields, self.task.name), options


class Stream(Iterator[str]):
    """Text as it is generated; afterwards ``generation`` holds the whole result.

    Leaving the loop early, ``close()`` or ``cancel()`` ends the model's work within one token.
    """

    def __init__(self, work: "_Work", cancel: threading.Event, on_progress: Progress | None) -> None:
        self._work = work
        self._cancel = cancel
        self._pieces = self._generate(on_progress)

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

    def _generate(self, on_progress: Progress | None) -> Generator[str, None, None]:
        work, done = self._work, 0
        completions: list[Completion]
        try:
            yield from work.advance()
            while work.step is not None:
                calls, completions = work.calls(), []
                if live := work.step.show is not None and len(calls) == 1:
                    yield from self._live(calls[0], work.step, completions)
                    if on_progress:
                        on_progress(done + 1, done + 1)
                else:
                    completions = work.pipeline._run_calls(calls, self._cancel, on_progress, done)
                done += len(calls)
                yield from work.receive(completions, shown=live)
        except GeneratorExit:
            work.interrupt("cancelled")
            raise

    def _live(self, call: Call, step: Step, completions: list[Completion]) -> Iterator[str]:
        """Show the reply of one call as it grows."""
        assert step.show is not None
        work, reply, shown = self._work, "", ""
        with closing(work.pipeline.engine.stream(call, self._cancel)) as items:
            for item in items:
                if isinstance(item, Completion):
                    completions.append(item)
                    text = step.show(item.text, True)
                else:
                    work.saw_token()
                    reply += item
                    text = step.show(reply, False)
                if not text.startswith(shown):
                    raise AssertionError(f"{work.pipeline.task.name} showed {shown!r} and then {text!r}")
                if len(text) > len(shown):
                    work.text.append(text[len(shown) :])
                    yield text[len(shown) :]
                    shown = text


class _Work:
    """One request on its way through its task's steps."""

    def __init__(self, pipeline: Pipeline, request: TaskRequest, options: GenerationOptions) -> None:
        self.pipeline = pipeline
        self.step: Step | None = None
        self.text: list[str] = []
        self._run = Run(pipeline.engine, pipeline.prompt, options)
        self._steps = pipeline.task.steps(request, self._run)
        self._started = time.perf_counter()
        self._ended: float | None = None
        self._first_token_s: float | None = None
        self._usage = Usage()
        self._finish_reason: FinishReason = "stop"
        self._limit: int | None = None

    def calls(self) -> list[Call]:
        """The calls of the current step, each with what is left of the deadline."""
        calls = self.step.calls if self.step else []
        if (deadline := self._run.options.deadline_s) is None:
            return calls
        left = max(deadline - self._elapsed(), 1e-3)
        return [replace(call, options=call.options.model_copy(update={"deadline_s": left})) for call in calls]

    def advance(self, completions: list[Completion] | None = None) -> list[str]:
        """Run the task to its next step; returns the text that was settled on the way."""
        return self._settle(lambda: self._steps.send(completions))  # type: ignore[arg-type]

    def _settle(self, resume: Callable[[], Step | str]) -> list[str]:
        settled: list[str] = []
        try:
            item = resume()
            while isinstance(item, str):
                if item:
                    settled.append(item)
                item = next(self._steps)
            self.step = item
        except (StopIteration, Stopped):  # a task that has nothing to add lets Stopped pass
            self._end()
        self.text += settled
        return settled

    def receive(self, completions: list[Completion], shown: bool = False) -> list[str]:
        """Take the completions of the current step, then advance or, where one was stopped, end.

        Args:
            completions: One for each call of the step.
            shown: The step's text was shown while it grew; otherwise it is settled here.

        Returns:
            The text that was settled.
        """
        assert self.step is not None
        for call, completion in zip(self.step.calls, completions, strict=True):
            self._usage = Usage(
                self._usage.prompt_tokens + completion.prompt_tokens,
                self._usage.completion_tokens + completion.completion_tokens,
            )
            if _SEVERITY.index(completion.finish_reason) > _SEVERITY.index(self._finish_reason):
                self._finish_reason = completion.finish_reason
            if completion.finish_reason == "length":
                self._limit = call.options.max_new_tokens
            if self._first_token_s is None and completion.first_token_s is not None:
                self._first_token_s = max(0.0, self._elapsed() - completion.total_s + completion.first_token_s)
        settled = []
        if self.step.show and len(completions) == 1 and not shown:
            settled = [text for text in [self.step.show(completions[0].text, True)] if text]
            self.text += settled
        if self._finish_reason not in ("deadline", "cancelled"):
            return settled + self.advance(completions)
        settled += self._settle(lambda: self._steps.throw(Stopped(completions)))
        self.interrupt(self._finish_reason)  # where the task asked for another step all the same
        return settled

    def saw_token(self) -> None:
        """Note the time of the first token."""
        if self._first_token_s is None:
            self._first_token_s = self._elapsed()

    def interrupt(self, reason: FinishReason) -> None:
        """End before the task is done; the task notes what it leaves undone."""
        if self._ended is None:
            self._finish_reason = reason
            self._steps.close()
            self._end()

    def generation(self) -> Generation:
        """The result as it stands."""
        total = (self._ended or time.perf_counter()) - self._started
        options, engine, prompt = self._run.options, self.pipeline.engine, self.pipeline.prompt
        return Generation(
            task=self.pipeline.task.name,
            model=engine.reference,
            text="".join(self.text),
            usage=self._usage,
            timing=Timing(self._first_token_s, total, self._usage.completion_tokens / total if total else 0.0),
            finish_reason=self._finish_reason,
            notes=[*self._run.notes, *self._ending_notes()],
            variants=self._run.variants,
            provenance={
                "engine": engine.provenance(),
                "prompt_version": prompt.version,
                "prompt_sha256": prompt.digest(engine.chat_template),
                "options": options.model_dump(exclude_none=True),
            },
        )

    def _ending_notes(self) -> list[Note]:
        options = self._run.options
        if self._finish_reason == "length":
            # A task lowers the limit for a short form or a full context: more max_new_tokens would not help then.
            if options.max_new_tokens and self._limit and self._limit < options.max_new_tokens:
                return [Note("reply_at_task_limit", {"tokens": self._limit})]
            return [Note("reply_at_limit", {"tokens": self._limit})]
        if self._finish_reason == "deadline":
            return [Note("reply_at_deadline", {"seconds": options.deadline_s})]
        return [Note("reply_cancelled")] if self._finish_reason == "cancelled" else []

    def _end(self) -> None:
        self.step = None
        self._ended = time.perf_counter()

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started
