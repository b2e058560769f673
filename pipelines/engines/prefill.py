"""Reads prompts into the cache of the local engine, before the first token of a reply is chosen.

Prompts of a batch are read apart, a few short ones or one long one at a time, and laid side by side afterwards. Reading
them together means to compute the padding too, and to mask it: eight prompts of 545 to 595 tokens took 15 % longer that
way (SmolLM2-135M, float32, one core), and more the more their lengths differ.
"""

import inspect
from collections.abc import Generator
from typing import Any, TypeVar

import torch

from pipelines.engines.cache import GrowingCache, PrefixCache, expanded, is_growing, new_cache, side_by_side
from pipelines.engines.sizes import PREFILL_CHUNK

__all__ = [
    "SMALLEST_PREFIX",
    "Passes",
    "beginning",
    "padded",
    "read",
    "read_rows",
    "shares_beginnings",
]

Passes = Generator[list[tuple[int, int]], set[int] | None, None]
"""What each forward pass brought: (row, token) pairs; send back the rows that have ended."""

ResultT = TypeVar("ResultT")
Reading = Generator[list[tuple[int, int]], set[int] | None, ResultT]
"""Forward passes that bring no token yet: an empty list each, then a result."""

SMALLEST_PREFIX = 32
"""Shared beginnings shorter than this are not worth a pass of their own."""


def shares_beginnings(model: Any, cache: GrowingCache) -> bool:
    """Whether states of a beginning serve every prompt that begins so, and forgetting the latest tokens is exact.

    Without positions (MPT) a model counts columns, and padding behind a shared beginning would count too.
    """
    return is_growing(cache) and "position_ids" in inspect.signature(model.forward).parameters


def beginning(model: Any, tokens: list[int], prefixes: PrefixCache, adapter: str | None) -> Reading[GrowingCache]:
    """The states of a beginning, known or read now."""
    known = prefixes.get(adapter, tuple(tokens))
    if known is not None:
        return known
    # Always a pass of its own, whether it is found again or not: the same request then does the same arithmetic each
    # time, and a seed gives the same text.
    prefix = new_cache(model.config)
    ids = torch.tensor([tokens], device=model.device)
    places = torch.arange(len(tokens), device=model.device)[None]
    yield from read(model, ids, None, places, prefix, PREFILL_CHUNK)
    prefixes.put(adapter, tuple(tokens), prefix)
    return prefix


def read_rows(model: Any, rows: list[list[int]], prefix: GrowingCache | None) -> Reading[tuple[Any, torch.Tensor]]:
    """Read prompts a few at a time, on a model that ``shares_beginnings``.

    Args:
        model: A causal language model of transformers.
        rows: Token ids of each prompt behind the shared beginning; none empty.
        prefix: States of the shared beginning.

    Returns:
        A cache in which all rows end in the same column, blank before the shorter ones' own part; the logits after the
        last token of each, (rows, vocabulary).
    """
    cache, logits = None, None
    shared = prefix.get_seq_length() if prefix else 0
    width = max(map(len, rows))
    for places in _bundles(rows):
        if cache is not None:
            yield []
        bundle = [rows[place] for place in places]
        longest = max(map(len, bundle))
        part = expanded(prefix, len(bundle), longest, model.config) if prefix else new_cache(model.config)
        ids, mask, positions = padded(bundle, shared, model.device)
        last = yield from read(model, ids, mask, positions, part, max(1, PREFILL_CHUNK // len(bundle)))
        if cache is None or logits is None:
            cache = side_by_side(part, len(rows), shared + width, model.config)
            logits = last.new_empty((len(rows), last.shape[-1]))
        cache.place(part, places, shared, longest)
        logits[places] = last
    assert logits is not None
    return cache, logits


def padded(
    rows: list[list[int]], shared: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Ids, mask (with the shared columns; None where nothing is padded) and positions of rows that end together."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
    padding = torch.tensor([width - len(row) for row in rows], device=device)[:, None]
    columns = torch.arange(width, device=device)[None, :]
    positions = (columns - padding).clamp(min=0) + shared
    if not padding.any():
        return ids, None, positions
    return ids, torch.cat([padding.new_ones((len(rows), shared)), (columns >= padding).long()], 1), positions


def read(
    model: Any, ids: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor, cache: Any, chunk: int
) -> Reading[torch.Tensor]:
    """Read prompts into the cache, a chunk at a time; returns the logits after the last token, (rows, vocabulary)."""
    logits = None
    held = 0 if mask is None else mask.shape[1] - ids.shape[1]
    for start in range(0, ids.shape[1], chunk):
        if start:
            yield []
        end = min(start + chunk, ids.shape[1])
        logits = model(
            input_ids=ids[:, start:end],
            attention_mask=None if mask is None else mask[:, : held + end],
            position_ids=positions[:, start:end],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
    assert logits is not None
    return logits


def _bundles(rows: list[list[int]]) -> list[list[int]]:
    """Places of rows that are read in one go: similar in length, at most one chunk together, or one long row."""
    bundles: list[list[int]] = []
    for place in sorted(range(len(rows)), key=lambda place: -len(rows[place])):
        longest = len(rows[bundles[-1][0]]) if bundles else PREFILL_CHUNK
        if bundles and (len(bundles[-1]) + 1) * longest <= PREFILL_CHUNK:
            bundles[-1].append(place)
        else:
            bundles.append([place])
    return bundles
