"""Runs the replies of the local engine: who runs together, and what is kept between calls."""

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any

from pipelines.engines.adapters.adapters import Adapters
from pipelines.engines.device import DeviceChoice
from pipelines.engines.free_memory import memory_errors
from pipelines.engines.placement import Placement, check_call
from pipelines.engines.reply import Reply
from pipelines.engines.waiting import turn

if TYPE_CHECKING:
    from pipelines.engines.prefill import Passes

__all__ = ["Runner"]

PREFIX_CAPACITY = 4096
"""Tokens of shared prompt beginnings that are kept: the prompts of all five tasks fit."""

CONVERSATION_CAPACITY = 512 * 2**20
"""Bytes of conversations that are kept for their next turn: 11,000 tokens of SmolLM2-135M in float32, 4,000 of a model
with 8 billion parameters in bfloat16."""


class Runner:
    """One model, its adapters and the states that are kept for later calls.

    Args:
        model: A causal language model of transformers.
        reference: Model reference, for messages of errors.
        adapters: Its adapters.
        choice: Device and number format.
        placement: Where it is, and how much memory that takes.
        lock: Held by whoever runs something.
        ending: Tokens that are never penalised for coming again.
        token_budget: Tokens that the rows of one batch may hold together; 0 where they run one by one.
        prompt_lookup: Whether single replies guess tokens.
    """

    def __init__(
        self,
        model: Any,
        reference: str,
        adapters: Adapters,
        choice: DeviceChoice,
        placement: Placement,
        lock: threading.Lock,
        ending: list[int],
        token_budget: int,
        prompt_lookup: bool,
    ) -> None:
        from pipelines.engines.cache import PrefixCache, holds_rows, new_cache
        from pipelines.engines.conversations import Conversations

        self.model = model
        self.adapters = adapters
        self.prefixes = PrefixCache(PREFIX_CAPACITY)
        self.conversations = Conversations(CONVERSATION_CAPACITY)
        # One row at a time where the model's cache cannot hold several of different length.
        self.token_budget = token_budget if holds_rows(new_cache(model.config)) else 0
        self._reference = reference
        self._choice = choice
        self._placement = placement
        self._lock = lock
        self._ending = ending
        self._prompt_lookup = prompt_lookup

    def turn(self, replies: list[Reply], cancel: threading.Event | None) -> AbstractContextManager[None]:
        """Wait until the model is free, or until all replies are over: cancelled, or past their deadline."""

        def over() -> bool:
            for reply in replies:
                reply.advance(None, cancel)
            return all(reply.completion for reply in replies)

        return turn(self._lock, over)

    def groups(self, replies: list[Reply]) -> list[list[Reply]]:
        """Replies that run together: same beginning, same sampling, similar length, within the token budget."""
        from pipelines.engines.sampling import sampling_key

        def key(reply: Reply) -> Any:
            # A beginning is computed under one adapter; without one, rows of the base model and of adapters may mix.
            alone = reply.call.adapter if reply.shared or not self.adapters.mixable(reply.call.adapter) else None
            return (reply.beginning, alone or "", sampling_key(reply.call.options))

        groups: list[list[Reply]] = []
        # The longest first: if memory does not suffice, that shows at once and not after an hour.
        for reply in sorted(replies, key=lambda reply: (key(reply), reply.size), reverse=True):
            group = groups[-1] if groups else []
            if group and key(group[0]) == key(reply) and (len(group) + 1) * group[0].size <= self.token_budget:
                group.append(reply)
            else:
                groups.append([reply])
        return groups

    def run(self, replies: list[Reply], cancel: threading.Event | None) -> Generator[tuple[Reply, str], None, None]:
        """Run one batch; yields (reply, new text) as it comes, ``reply.completion`` set with the last of each.

        Raises:
            CinquainError: ``memory_call`` or ``memory_exhausted``.
        """
        for reply in replies:  # cancelled, or past their deadline, before they began
            reply.advance(None, cancel)
            if reply.completion:
                yield reply, ""
        # In the order of their adapters, see Adapters.serving.
        replies = sorted((each for each in replies if not each.completion), key=lambda each: each.call.adapter or "")
        if not replies:
            return
        longest = max(len(reply.tokens) for reply in replies)
        most = max(reply.size for reply in replies) - longest
        check_call(self._placement, self._choice, longest, most, len(replies), self._forget_all)
        with (
            memory_errors(self._reference, self._placement.devices[0], longest, len(replies), self._forget_all),
            self.adapters.serving([reply.call.adapter for reply in replies]) as rows,
            closing(self._passes(replies, rows.keep)) as passes,
        ):
            pairs = next(passes)
            while True:
                # Nothing comes while prompts are read; who was cancelled meanwhile need not wait for the end of that.
                events: list[tuple[int, int | None]] = [*pairs] or [(row, None) for row in range(len(replies))]
                for row, token in events:
                    if (reply := replies[row]).completion is None:
                        text = reply.advance(token, cancel)
                        if text or reply.completion:
                            yield reply, text
                ended = {row for row, reply in enumerate(replies) if reply.completion}
                if len(ended) == len(replies):
                    return
                pairs = passes.send(ended)

    def forget(self, adapter: str) -> None:
        """Give up what was computed under an adapter."""
        self.prefixes.forget(adapter)
        self.conversations.forget(adapter)

    def keep_nothing(self) -> None:
        """Have no room for states from now on."""
        from pipelines.engines.cache import PrefixCache
        from pipelines.engines.conversations import Conversations

        self.prefixes, self.conversations = PrefixCache(0), Conversations(0)

    def close(self) -> None:
        """Let go of the model and of everything that was kept."""
        self._forget_all()
        self.model = None

    def _forget_all(self) -> None:
        self.prefixes.clear()
        self.conversations.clear()

    def _passes(self, replies: list[Reply], on_kept: Callable[[list[int]], None]) -> "Passes":
        """The token loop for one batch; ``on_kept`` hears which rows stay in it."""
        from pipelines.engines.cache import new_cache
        from pipelines.engines.decoding import decode
        from pipelines.engines.lookup import Lookup
        from pipelines.engines.prefill import shares_beginnings
        from pipelines.engines.sampling import Sampler
        from pipelines.engines.single import decode_one

        calls = [reply.call for reply in replies]
        sampler = Sampler.for_calls([call.options for call in calls], self._ending, self.model.device)
        if len(replies) == 1 and shares_beginnings(self.model, new_cache(self.model.config)):
            (reply,) = replies
            return decode_one(
                self.model,
                reply.tokens,
                reply.shared,
                sampler,
                self.prefixes,
                adapter=reply.call.adapter,
                conversations=self.conversations if reply.call.goes_on else None,
                lookup=Lookup(reply.tokens) if self._prompt_lookup else None,
            )
        return decode(
            self.model,
            [reply.tokens for reply in replies],
            min(reply.shared for reply in replies),
            sampler,
            self.prefixes,
            adapter=calls[0].adapter,
            mixed=len({call.adapter for call in calls}) > 1,
            on_kept=on_kept,
        )
