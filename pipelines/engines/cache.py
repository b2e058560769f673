"""The key/value cache of the local engine: grows in place, keeps shared prompt beginnings, drops finished rows.

transformers' DynamicLayer joins old and new states with ``torch.cat`` at every token, which copies the whole cache each
time: for a batch of 16 at 500 tokens that is 0.37 GB per token on SmolLM2-135M. A GrowingLayer writes into spare room
instead and doubles the room when it is full.
"""

from collections import OrderedDict
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from pipelines.engines.sizes import SPARE

__all__ = [
    "GrowingCache",
    "GrowingLayer",
    "PrefixCache",
    "expanded",
    "holds_rows",
    "is_growing",
    "new_cache",
    "side_by_side",
]


class GrowingLayer(DynamicLayer):
    """A DynamicLayer whose ``keys`` and ``values`` are views of larger buffers.

    Shapes: (rows, key/value heads, tokens, head size).
    """

    keys: torch.Tensor
    values: torch.Tensor
    _key_buffer: torch.Tensor
    _value_buffer: torch.Tensor
    _length: int

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states and return all of them."""
        if not self.is_initialized:
            self.start(key_states, value_states, key_states.shape[-2] + SPARE)
        end = self._length + key_states.shape[-2]
        if end > self._key_buffer.shape[-2]:
            self._key_buffer = self._grown(self._key_buffer, 2 * end)
            self._value_buffer = self._grown(self._value_buffer, 2 * end)
        self._key_buffer[..., self._length : end, :] = key_states
        self._value_buffer[..., self._length : end, :] = value_states
        self._set_length(end)
        return self.keys, self.values

    def start(self, key_states: torch.Tensor, value_states: torch.Tensor, tokens: int) -> None:
        """Make room for this many tokens of states like these."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self._length = 0
        self._key_buffer = _room(key_states, tokens)
        self._value_buffer = _room(value_states, tokens)
        self.is_initialized = True

    def get_seq_length(self) -> int:
        """Tokens held."""
        return self._length if self.is_initialized else 0

    def keep_first(self, tokens: int) -> None:
        """Forget what comes after this many tokens. No ``crop``, whose argument changed its meaning."""
        if self.is_initialized:
            self._set_length(min(tokens, self._length))

    @property
    def nbytes(self) -> int:
        """Bytes that are held, spare room included."""
        return self._key_buffer.nbytes + self._value_buffer.nbytes if self.is_initialized else 0

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only these rows."""
        if self.is_initialized:
            self._key_buffer = self._key_buffer[indices]
            self._value_buffer = self._value_buffer[indices]
            self._set_length(self._length)

    def _grown(self, buffer: torch.Tensor, tokens: int) -> torch.Tensor:
        larger = _room(buffer, tokens)
        larger[..., : self._length, :] = buffer[..., : self._length, :]
        return larger

    def _set_length(self, length: int) -> None:
        self._length = length
        self.keys = self._key_buffer[..., :length, :]
        self.values = self._value_buffer[..., :length, :]


class GrowingCache(DynamicCache):
    """A cache whose layers grow in place wherever the model attends to all earlier tokens."""

    @property
    def nbytes(self) -> int:
        """Bytes that are held, spare room included."""
        return sum(layer.nbytes for layer in self.layers if isinstance(layer, GrowingLayer))

    def place(self, part: "GrowingCache", rows: list[int], shared: int, longest: int) -> None:
        """Take in rows that were read apart; only where ``is_growing``.

        Args:
            part: A cache of those rows: the shared beginning, then their own parts, all ending in its last column.
            rows: Their places here.
            shared: Tokens of the shared beginning.
            longest: Tokens of the longest own part; they end in the last column here.
        """
        for layer, source in zip(self.layers, part.layers, strict=True):
            assert isinstance(layer, GrowingLayer)
            assert isinstance(source, GrowingLayer)
            for ours, theirs in ((layer.keys, source.keys), (layer.values, source.values)):
                ours[rows, :, :shared] = theirs[..., :shared, :]
                ours[rows, :, ours.shape[-2] - longest :] = theirs[..., shared:, :]

    def keep_first(self, tokens: int) -> None:
        """Forget what comes after this many tokens; only where ``is_growing``."""
        for layer in self.layers:
            assert isinstance(layer, GrowingLayer)
            layer.keep_first(tokens)


class PrefixCache:
    """States of prompt beginnings that many requests share (system message and worked examples).

    The least recently used are forgotten beyond ``capacity`` tokens. An adapter changes every state, so each has its
    own.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[tuple[str | None, tuple[int, ...]], GrowingCache] = OrderedDict()

    def get(self, adapter: str | None, tokens: tuple[int, ...]) -> GrowingCache | None:
        """The states of exactly these tokens under an adapter, or None."""
        if (adapter, tokens) in self._entries:
            self._entries.move_to_end((adapter, tokens))
        return self._entries.get((adapter, tokens))

    def put(self, adapter: str | None, tokens: tuple[int, ...], cache: GrowingCache) -> None:
        """Keep states; the caller must not append to them any more."""
        if len(tokens) > self._capacity:
            return
        self._entries[adapter, tokens] = cache
        while sum(len(tokens) for _, tokens in self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def forget(self, adapter: str) -> None:
        """Give up what was computed under an adapter."""
        for key in [key for key in self._entries if key[0] == adapter]:
            del self._entries[key]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


def new_cache(config: Any) -> GrowingCache:
    """An empty cache for a model; layers with full attention grow in place."""
    cache = GrowingCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def is_growing(cache: DynamicCache) -> bool:
    """Whether every layer attends to all earlier tokens, so that a beginning may be shared and padding may follow it.

    A sliding window counts columns: padding behind a shared beginning would push that out of the window too early.
    """
    return all(isinstance(layer, GrowingLayer) for layer in cache.layers)


def holds_rows(cache: DynamicCache) -> bool:
    """Whether rows of different length can share this cache, and a prompt can be read into it in chunks.

    Not so for recurrent states (Mamba, linear attention): they take padding in, their cache cannot drop rows, and some
    implementations begin anew with each chunk (seen with Jamba in transformers 5.23).
    """
    return all(type(layer) in (GrowingLayer, DynamicSlidingWindowLayer) for layer in cache.layers)


def expanded(prefix: GrowingCache, rows: int, room: int, config: Any) -> GrowingCache:
    """A copy of a one-row cache whose layers all grow, for several rows, with room for more tokens."""
    cache = new_cache(config)
    for layer, source in zip(cache.layers, prefix.layers, strict=True):
        assert isinstance(layer, GrowingLayer)
        assert isinstance(source, GrowingLayer)
        keys = source.keys.expand(rows, -1, -1, -1)
        values = source.values.expand(rows, -1, -1, -1)
        layer.start(keys, values, keys.shape[-2] + room + SPARE)
        layer.update(keys, values)
    return cache


def side_by_side(like: GrowingCache, rows: int, tokens: int, config: Any) -> GrowingCache:
    """A cache for rows that are read apart, with layers like these, all growing; blank until ``place`` fills it.

    Blank is zero: what is masked has no weight, but no weight times what was in memory before may be no number.
    """
    cache = new_cache(config)
    for layer, source in zip(cache.layers, like.layers, strict=True):
        assert isinstance(layer, GrowingLayer)
        assert isinstance(source, GrowingLayer)
        keys, values = (
            states.new_zeros(1).expand(rows, states.shape[1], tokens, states.shape[3])
            for states in (source.keys, source.values)
        )
        layer.start(keys, values, tokens + SPARE)
        layer.update(keys, values)
    return cache


def _room(like: torch.Tensor, tokens: int) -> torch.Tensor:
    return like.new_empty((*like.shape[:-2], tokens, like.shape[-1]))
