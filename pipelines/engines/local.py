"""The local engine: causal chat models of transformers on this machine."""

import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from typing import Any

from pipelines.engines.base import Call, Completion, Engine
from pipelines.engines.chat import ChatFormat
from pipelines.engines.device import choose_device
from pipelines.engines.loading import (
    adapter_sha256,
    context_length,
    load_adapter,
    load_model,
)
from pipelines.engines.reply import Reply
from pipelines.errors import InputError
from pipelines.models.source import ModelSource
from pipelines.prompts import Message

__all__ = ["LocalEngine"]

DEFAULT_TOKEN_BUDGET = 8192
"""Tokens that the rows of one batch may hold together, padding and replies included. On SmolLM2-135M in float32 that is
0.38 GB of keys and values."""

PREFIX_CAPACITY = 4096
"""Tokens of shared prompt beginnings that are kept: the prompts of all five tasks fit."""


class LocalEngine(Engine):
    """Runs a model in this process.

    Args:
        source: Where the model is.
        adapter: Folder of a LoRA adapter, or None.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``; see ``device.py``.
        token_budget: Tokens that the rows of one batch may hold together.

    Raises:
        InputError: The model or the adapter cannot be loaded.
    """

    def __init__(
        self,
        source: ModelSource,
        adapter: str | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        token_budget: int = DEFAULT_TOKEN_BUDGET,
    ) -> None:
        from pipelines.engines.cache import PrefixCache, holds_rows, new_cache
        from pipelines.models import resolve_adapter

        self.choice = choose_device(device, dtype)
        adapter_path = resolve_adapter(adapter) if adapter else None
        self.model, self.tokenizer = load_model(source, self.choice)
        if adapter_path:
            self.model = load_adapter(self.model, adapter_path)
        if self.choice.one_row:
            from pipelines.engines.one_row import use_one_row_copies

            use_one_row_copies(self.model)  # after the adapter, which may bring whole layers of its own
        self.source = source
        self.adapter = str(adapter_path) if adapter_path else None
        self._adapter_sha256 = adapter_sha256(adapter_path) if adapter_path else None
        self.reference = source.reference
        self.context_length = context_length(self.model, self.tokenizer)
        # The engine keeps to the context length itself; the tokenizer would warn while long texts are only being
        # counted.
        self.tokenizer.model_max_length = 10**30
        self.format = ChatFormat(self.model, self.tokenizer, source.reference)
        self.chat_template = self.format.template
        # One row at a time where the model's cache cannot hold several of different length.
        self._token_budget = token_budget if holds_rows(new_cache(self.model.config)) else 0
        self._prefixes = PrefixCache(PREFIX_CAPACITY)
        self._lock = threading.Lock()

    def count_tokens(self, text: str) -> int:
        """Tokens of a bare text."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def count_prompt(self, messages: Sequence[Message]) -> int:
        """Tokens of a conversation with the chat template around it."""
        return len(self.format.tokens(messages))

    def stream(self, call: Call, cancel: threading.Event | None = None) -> Generator[str | Completion, None, None]:
        """Generate for one call, token by token, in the caller's thread."""
        with self._lock, closing(self._run([self._reply(call)], cancel)) as events:
            for reply, text in events:
                if text:
                    yield text
                if reply.completion:
                    yield reply.completion

    def batch(
        self,
        calls: Sequence[Call],
        cancel: threading.Event | None = None,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """Generate for many calls in batches of similar length; completions in the order of the calls."""
        replies = [self._reply(call) for call in calls]
        index = {id(reply): place for place, reply in enumerate(replies)}
        # A beginning that one call has for itself (a chat's earlier turns) would only keep it out of a larger batch.
        beginnings = Counter(reply.beginning for reply in replies)
        for reply in replies:
            if beginnings[reply.beginning] == 1:
                reply.shared = 0
        with self._lock:
            for group in self._groups(replies):
                for reply, _ in self._run(group, cancel):
                    if reply.completion and on_done:
                        on_done(index[id(reply)], reply.completion)
        return [reply.completion for reply in replies if reply.completion]

    def provenance(self) -> dict[str, Any]:
        """Model, weights' hash where known, number format, device and library versions."""
        import torch
        import transformers

        return {
            "engine": "local",
            "model": self.reference,
            "model_sha256": self.source.sha256,
            "revision": self.source.revision,
            "adapter": self.adapter,
            "adapter_sha256": self._adapter_sha256,
            "device": self.choice.device,
            "dtype": self.choice.label,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    def close(self) -> None:
        """Free the model's memory; the engine cannot be used afterwards."""
        with self._lock:
            self._prefixes.clear()
            self.model = None

    def _reply(self, call: Call) -> Reply:
        """Turn a call into tokens.

        Raises:
            InputError: ``prompt_too_long``.
        """
        tokens = self.format.tokens(call.messages)
        room = self.context_length - len(tokens)
        if room < 1:
            raise InputError("prompt_too_long", tokens=len(tokens), limit=self.context_length)
        shared = []
        if call.shared:
            # A template may refuse a beginning without a question (Qwen3.5's does): that costs speed and nothing else.
            with suppress(InputError):
                shared = self.format.tokens(call.messages[: call.shared], reply=False)
        # Only where the template writes the beginning alone as it writes it in the whole conversation.
        common = len(shared) if tokens[: len(shared)] == shared else 0
        return Reply(call, tokens, common, min(call.options.max_new_tokens or room, room), self.format)

    def _groups(self, replies: list[Reply]) -> list[list[Reply]]:
        """Replies that run together: same beginning, same sampling, similar length, within the token budget."""
        from pipelines.engines.sampling import sampling_key

        def key(reply: Reply) -> Any:
            return (reply.beginning, sampling_key(reply.call.options))

        groups: list[list[Reply]] = []
        # The longest first: if memory does not suffice, that shows at once and not after an hour.
        for reply in sorted(replies, key=lambda reply: (key(reply), reply.size), reverse=True):
            group = groups[-1] if groups else []
            if group and key(group[0]) == key(reply) and (len(group) + 1) * group[0].size <= self._token_budget:
                group.append(reply)
            else:
                groups.append([reply])
        return groups

    def _run(self, replies: list[Reply], cancel: threading.Event | None) -> Generator[tuple[Reply, str], None, None]:
        """Run one batch; yields (reply, new text) as it comes, ``reply.completion`` set with the last of each."""
        from pipelines.engines.decoding import decode
        from pipelines.engines.sampling import Sampler

        for reply in replies:  # cancelled, or past their deadline, before they began
            reply.advance(None, cancel)
            if reply.completion:
                yield reply, ""
        replies = [reply for reply in replies if reply.completion is None]
        if not replies:
            return
        sampler = Sampler.for_calls([reply.call.options for reply in replies], self.format.ending, self.model.device)
        shared = min(reply.shared for reply in replies)
        with closing(decode(self.model, [reply.tokens for reply in replies], shared, sampler, self._prefixes)) as steps:
            pairs = next(steps)
            while True:
                tokens = dict(pairs)
                for row, reply in enumerate(replies):
                    if reply.completion is None:
                        text = reply.advance(tokens.get(row), cancel)
                        if text or reply.completion:
                            yield reply, text
                ended = {row for row, reply in enumerate(replies) if reply.completion}
                if len(ended) == len(replies):
                    return
                pairs = steps.send(ended)
