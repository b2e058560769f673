"""The scripted engine: deterministic, instant, no weights. For tests, documentation and trying the app's surface.

It keeps the whole contract (streaming, cancel, stop strings, limits, deadlines), so that what works on it works on a
model.
"""

import re
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from pipelines.engines.base import Call, Completion, Engine, Message
from pipelines.generation import FinishReason

__all__ = ["Script", "ScriptedEngine"]

Script = Mapping[str, str] | Sequence[str] | Callable[[Call], str]
"""Replies: by task name, one after another (the last one repeats), or computed from the call."""

# A word with the space before it, a single CJK character, or one mark: near enough to a tokenizer to exercise budgets.
_TOKEN = re.compile(r"\s*(?:[A-Za-z0-9_']+|[^\sA-Za-z0-9_'])|\s+")


class ScriptedEngine(Engine):
    """Answers from a script.

    Args:
        script: The replies; by default a plausible one for each task, made from the request.
        context_length: Tokens that prompt and reply share.
        on_token: Called before each token, in tests that need something to happen in the middle of a reply.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        context_length: int = 4096,
        on_token: Callable[[], None] | None = None,
    ) -> None:
        self.reference = "scripted"
        self.context_length = context_length
        self.chat_template = "scripted"
        self.calls: list[Call] = []
        """Every call that was made, for tests to look at."""
        self._script = script if script is not None else _plausible_reply
        self._on_token = on_token
        self._lock = threading.Lock()

    def count_tokens(self, text: str) -> int:
        """Words, CJK characters and marks."""
        return sum(1 for _ in _TOKEN.finditer(text))

    def count_prompt(self, messages: Sequence[Message]) -> int:
        """Tokens of all messages, plus two for each as a chat template would add."""
        return sum(self.count_tokens(message["content"]) + 2 for message in messages)

    def stream(self, call: Call, cancel: threading.Event | None = None) -> Generator[str | Completion, None, None]:
        """Generate for one call, token by token."""
        with self._lock:
            yield from self._generate(call, cancel)

    def batch(
        self,
        calls: Sequence[Call],
        cancel: threading.Event | None = None,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """Generate for each call in turn."""
        completions = []
        with self._lock:
            for index, call in enumerate(calls):
                *_, completion = self._generate(call, cancel)
                assert isinstance(completion, Completion)
                completions.append(completion)
                if on_done:
                    on_done(index, completion)
        return completions

    def provenance(self) -> dict[str, Any]:
        """Only the name: there are no weights."""
        return {"engine": "scripted"}

    def _generate(self, call: Call, cancel: threading.Event | None) -> Generator[str | Completion, None, None]:
        self.calls.append(call)
        started = time.perf_counter()
        first: float | None = None
        tokens = _TOKEN.findall(self._reply(call))
        text, sent, count = "", 0, 0
        reason: FinishReason = "stop"
        for token in tokens:
            if self._on_token:
                self._on_token()
            if cancel is not None and cancel.is_set():
                reason = "cancelled"
            elif call.options.deadline_s and time.perf_counter() - started > call.options.deadline_s:
                reason = "deadline"
            elif call.options.max_new_tokens and count >= call.options.max_new_tokens:
                reason = "length"
            if reason != "stop":
                break
            if first is None:
                first = time.perf_counter() - started
            count += 1
            text += token
            if ends := [text.find(stop) for stop in call.options.stop if stop in text]:
                text = text[: min(ends)]
                break
            safe = len(text) - _held_back(text, call.options.stop)
            if safe > sent:
                yield text[sent:safe]
                sent = safe
        if len(text) > sent:
            yield text[sent:]
        yield Completion(text, self.count_prompt(call.messages), count, reason, first, time.perf_counter() - started)

    def _reply(self, call: Call) -> str:
        script = self._script
        if callable(script):
            return script(call)
        if isinstance(script, Mapping):
            return script[call.task]
        return script[min(len(self.calls) - 1, len(script) - 1)]


def _held_back(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of a text that may be the start of a stop string."""
    lengths = (length for stop in stops for length in range(len(stop) - 1, 0, -1) if text.endswith(stop[:length]))
    return max(lengths, default=0)


def _plausible_reply(call: Call) -> str:
    """A reply of the right shape for each task, made from the request where that is easy."""
    question = call.messages[-1]["content"]
    text = getattr(call.request, "text", None) or question
    match call.task:
        case "translation":
            return f"[{getattr(call.request, 'target', '')}] {text}"
        case "summarization":
            return text.split(". ")[0].strip()[:200]
        case "code_generation":
            return 'Here is the code:\n\n```python\ndef answer() -> int:\n    """The answer."""\n    return 42\n```\n'
        case "creative_writing":
            return "Rain on quiet leaves\nA lantern sways in the dark\nSomeone hums your name"
        case _:
            return f"You said: {question}"
