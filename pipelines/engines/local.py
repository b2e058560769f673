"""The local engine: causal chat models of transformers on this machine."""

import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import cast

from pipelines.engines.adapters.adapters import Adapters
from pipelines.engines.base import Call, Completion, Room, all_completed
from pipelines.engines.chat import ChatFormat
from pipelines.engines.device import choose_device
from pipelines.engines.in_process import InProcessEngine
from pipelines.engines.loading import context_length
from pipelines.engines.reply import Reply
from pipelines.engines.runner import Runner
from pipelines.errors import CinquainError, InputError
from pipelines.models.source import ModelSource
from pipelines.prompts import Message

__all__ = ["LocalEngine"]

DEFAULT_TOKEN_BUDGET = 8192
"""Tokens that the rows of one batch may hold together, padding and replies included. On SmolLM2-135M in float32 that is
0.38 GB of keys and values."""


class LocalEngine(InProcessEngine):
    """Runs a model in this process.

    Args:
        source: Where the model is.
        adapter: Folder of a LoRA adapter, or None.
        device: ``auto``, ``cpu``, ``mps``, ``cuda`` (as many GPUs as the model needs) or ``cuda:1`` (this one).
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``; see ``device.py``.
        quantization: ``8bit`` or ``4bit`` (bitsandbytes, NVIDIA GPUs only), or None for weights as they are.
        attention: ``auto``, ``sdpa``, ``eager`` or ``flash_attention_2``.
        token_budget: Tokens that the rows of one batch may hold together.
        prompt_lookup: Whether single replies guess tokens from the text so far; see ``lookup.py``.
        thinking: Whether the model may think before it answers, where its chat template has a switch for that.

    Raises:
        InputError: The model or the adapter cannot be loaded.
    """

    kind = "local"

    def __init__(
        self,
        source: ModelSource,
        adapter: str | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        quantization: str | None = None,
        attention: str = "auto",
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        prompt_lookup: bool = True,
        thinking: bool = False,
    ) -> None:
        super().__init__(source, adapter, choose_device(device, dtype, quantization, attention))
        if self.choice.one_row:
            from pipelines.engines.one_row import use_one_row_copies

            use_one_row_copies(self.model)
        self.context_length = context_length(self.model, self.tokenizer)
        # The engine keeps to the context length itself; the tokenizer would warn while long texts are only being
        # counted.
        self.tokenizer.model_max_length = 10**30
        make_format = partial(
            ChatFormat,
            self.model,
            self.tokenizer,
            source.reference,
            thinking=thinking,
            context_length=self.context_length,
        )
        self._base_format = make_format()
        self.chat_template = self._base_format.template
        self.adapters = Adapters(
            self.model,
            source,
            self._lock,
            lambda template: make_format(template=template),
            lambda adapter: self._runner.forget(adapter),
        )
        self._runner = Runner(
            self.model,
            source.reference,
            self.adapters,
            self.choice,
            self.placement,
            self._lock,
            self._base_format.ending,
            min(token_budget, self.placement.batch_tokens or token_budget),
            prompt_lookup,
        )
        if adapter:
            self.adapters.default = self.adapters.load(adapter)

    @property
    def format(self) -> ChatFormat:
        """How conversations are written: for the model, or for the adapter that this view is of."""
        return self._adapter.format if self._adapter else self._base_format

    @property
    def shown_examples(self) -> bool:
        """Whether it is a base model."""
        return self.format.plain

    def count_tokens(self, text: str) -> int:
        """Tokens of a bare text."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def count_prompt(self, messages: Sequence[Message]) -> int:
        """Tokens of a conversation with the chat template around it."""
        return len(self.format.tokens(messages))

    def room(self, call: Call) -> Room:
        """What a call leaves free, with room for thinking where the model thinks."""
        left = self.context_length - self.count_prompt(call.messages) - self.format.thinking_tokens
        return Room(left, left)

    def stream(self, call: Call, cancel: threading.Event | None = None) -> Generator[str | Completion, None, None]:
        """Generate for one call, token by token, in the caller's thread."""
        replies = [self._reply(call)]
        with self._runner.turn(replies, cancel), closing(self._runner.run(replies, cancel)) as events:
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
        replies, index, outcomes = [], {}, cast("list[Completion | CinquainError]", [None] * len(calls))
        for position, call in enumerate(calls):
            try:
                replies.append(self._reply(call))
            except InputError as error:
                if error.code != "adapter_unloaded":
                    raise
                outcomes[position] = error  # the others are answered all the same
                continue
            index[id(replies[-1])] = position
        # A beginning that one call has for itself (a chat's earlier turns) would only keep it out of a larger batch.
        beginnings = Counter((reply.call.adapter, reply.beginning) for reply in replies)
        for reply in replies:
            if beginnings[reply.call.adapter, reply.beginning] == 1:
                reply.shared = 0
        with self._runner.turn(replies, cancel):
            for reply in [*replies]:
                try:
                    self.adapters.of(reply.call.adapter)
                except InputError as error:  # unloaded while they waited for the engine
                    outcomes[index[id(reply)]] = error
                    replies.remove(reply)
            for group in self._runner.groups(replies):
                for reply, _ in self._runner.run(group, cancel):
                    if reply.completion:
                        outcomes[index[id(reply)]] = reply.completion
                        if on_done:
                            on_done(index[id(reply)], reply.completion)
        return all_completed(outcomes)

    def keep_nothing(self) -> None:
        """Keep no shared beginnings and no conversations."""
        self._runner.keep_nothing()

    def _let_go(self) -> None:
        self._runner.close()
        super()._let_go()

    def _reply(self, call: Call) -> Reply:
        """Turn a call into tokens.

        Raises:
            InputError: ``prompt_too_long``, ``adapter_unloaded``.
        """
        call, adapter, notes = self._answering(call)
        chat_format = adapter.format if adapter else self._base_format
        tokens = chat_format.tokens(call.messages)
        room = self.context_length - len(tokens)
        if room < 1:
            raise InputError("prompt_too_long", tokens=len(tokens), limit=self.context_length)
        shared: list[int] = []
        if call.shared:
            # A template may refuse a beginning without a question (Qwen3.5's does): that costs speed and nothing else.
            with suppress(InputError):
                shared = chat_format.tokens(call.messages[: call.shared], reply=False)
        # Only where the template writes the beginning alone as it writes it in the whole conversation.
        common = len(shared) if tokens[: len(shared)] == shared else 0
        limit = min(call.options.max_new_tokens or room, room)
        return Reply(call, tokens, common, limit, room, chat_format, notes)
