"""The local engine: causal chat models of transformers on this machine."""

import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, cast

from pipelines.engines.adapters.adapters import BASE, Adapter, Adapters, check_fingerprint
from pipelines.engines.base import Call, Completion, Engine, Room, all_completed
from pipelines.engines.chat import ChatFormat
from pipelines.engines.device import choose_device, settled
from pipelines.engines.free_memory import give_back
from pipelines.engines.loading import context_length, load_model
from pipelines.engines.placement import offload_notes, place
from pipelines.engines.reply import Reply
from pipelines.engines.runner import Runner
from pipelines.errors import CinquainError, InputError
from pipelines.models.source import ModelSource
from pipelines.prompts import Message, Prompt

__all__ = ["LocalEngine"]

DEFAULT_TOKEN_BUDGET = 8192
"""Tokens that the rows of one batch may hold together, padding and replies included. On SmolLM2-135M in float32 that is
0.38 GB of keys and values."""


class LocalEngine(Engine):
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
        from pipelines.models import resolve_adapter

        choice = choose_device(device, dtype, quantization, attention)
        if adapter:  # a wrong one shows before the model is loaded
            adapter_path = resolve_adapter(adapter)
            if source.path:
                check_fingerprint(adapter_path, source)
        self.placement = place(source, choice)
        self.model, self.tokenizer = load_model(source, choice, self.placement)
        self.choice = settled(choice, self.model)
        self.notes = (*self.placement.notes, *offload_notes(self.model))
        if self.choice.one_row:
            from pipelines.engines.one_row import use_one_row_copies

            use_one_row_copies(self.model)
        self.source = source
        self.reference = source.reference
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
        self.format = self._base_format = make_format()
        self.chat_template = self.format.template
        self._lock = threading.Lock()
        self._adapter: Adapter | None = None
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
            self.format.ending,
            min(token_budget, self.placement.batch_tokens or token_budget),
            prompt_lookup,
        )
        if adapter:
            self.adapters.default = self.adapters.load(adapter)

    def view(self, adapter: str | None) -> Engine:
        """This engine as requests under one adapter see it; the engine itself is that of its base model."""
        name = self.adapters.default if adapter is None else adapter
        if name is None or name == BASE:
            return self
        view = copy(self)  # the model, the lock and what was computed before are shared
        view._adapter = self.adapters.get(name)
        view.adapter, view.format = view._adapter.key, view._adapter.format
        view.chat_template = view.format.template
        return view

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

    def wording(self, task: str, override: Prompt | None) -> Prompt:
        """The prompt to use for a task: what the adapter was trained with; a base model gets more examples."""
        if self._adapter and (stored := self._adapter.prompt(task, override)):
            return stored
        prompt = super().wording(task, override)
        return prompt.for_base_model() if self.format.plain else prompt

    def stream(self, call: Call, cancel: threading.Event | None = None) -> Generator[str | Completion, None, None]:
        """Generate for one call, token by token, in the caller's thread."""
        replies = [self._reply(call, self.adapters.of(call.adapter))]
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
                adapter = self.adapters.of(call.adapter)
            except InputError as error:  # unloaded meanwhile; the others are answered all the same
                outcomes[position] = error
                continue
            replies.append(self._reply(call, adapter))
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

    def provenance(self) -> dict[str, Any]:
        """Model, weights' hash where known, number format, device and library versions."""
        import torch
        import transformers

        return {
            "engine": "local",
            "model": self.reference,
            "model_sha256": self.source.sha256,
            "revision": self.source.revision,
            **(self._adapter.provenance() if self._adapter else {"adapter": None, "adapter_sha256": None}),
            "device": self.choice.device,
            "dtype": self.choice.label,
            "attention": self.choice.attention,
            "devices": list(self.placement.devices),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    def close(self) -> None:
        """Free the model's memory; the engine cannot be used afterwards."""
        with self._lock:
            self.adapters.close()
            self._runner.close()
            self.model = None
        give_back(self.placement.devices[0])

    def _reply(self, call: Call, adapter: Adapter | None) -> Reply:
        """Turn a call into tokens.

        Raises:
            InputError: ``prompt_too_long``.
        """
        call = replace(call, adapter=adapter.key if adapter else None)
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
        notes = (*self.notes, *(adapter.notes if adapter else ()))
        return Reply(call, tokens, common, limit, room, chat_format, notes)
