"""One request as a state machine: its task's steps, the text so far, the count of tokens, how it ended."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pipelines.engines.base import Call, Completion, Engine
from pipelines.engines.markers import joined_thoughts
from pipelines.generation import FinishReason, Generation, GenerationOptions, Note, Timing, Usage
from pipelines.prompts import Prompt
from pipelines.provenance import environment
from pipelines.requests import TaskRequest
from pipelines.tasks.base import Run, Step, Stopped, Task
from pipelines.text.repetition import repeated_end

__all__ = ["Work"]

_SEVERITY: tuple[FinishReason, ...] = ("stop", "length", "deadline", "cancelled")
"""Of several calls, the one that ended worst gives the request its finish reason."""


class Work:
    """One request on its way through its task's steps.

    Whoever drives it makes the ``calls`` of the current ``step`` and hands the completions to ``receive``, until
    ``step`` is None.

    Args:
        task: What is asked.
        engine: What answers, as this request sees it; here only for counting tokens.
        prompt: The wording to use.
        request: The validated request.
        options: Complete generation options.

    Attributes:
        step: What the task waits for; None before ``advance`` and after the end.
        text: What has been shown or settled, in order.
    """

    def __init__(
        self, task: Task[Any], engine: Engine, prompt: Prompt, request: TaskRequest, options: GenerationOptions
    ) -> None:
        self.task = task
        self.engine = engine
        self.step: Step | None = None
        self.text: list[str] = []
        self._run = Run(task.name, engine, prompt, options)
        self._steps = task.steps(request, self._run)
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
            # A model that ended by itself was in no circle, whatever it repeated.
            if completion.finish_reason != "stop" and (circle := repeated_end(completion.text)):
                passage = circle.passage if len(circle.passage) <= 80 else f"{circle.passage[:80]}…"
                self._run.note("reply_repeats", times=circle.times, text=" ".join(passage.split()))
            # Each of a hundred chunks says the same of its model: once is enough.
            self._run.notes += [note for note in completion.notes if note not in self._run.notes]
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
        options, engine, prompt = self._run.options, self.engine, self._run.prompt
        return Generation(
            task=self.task.name,
            model=engine.reference,
            text="".join(self.text),
            usage=self._usage,
            timing=Timing(self._first_token_s, total, self._usage.completion_tokens / total if total else 0.0),
            finish_reason=self._finish_reason,
            notes=[*joined_thoughts(self._run.notes), *self._ending_notes(), *engine.request_notes(self._usage)],
            variants=self._run.variants,
            provenance={
                "engine": engine.provenance(),
                "prompt_version": prompt.version,
                "prompt_sha256": prompt.digest(engine.chat_template),
                "options": options.model_dump(exclude_none=True),
                "environment": environment(),
            },
        )

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
