"""The token loop of the local engine: one forward pass per token for all rows that still run.

Written on transformers' model and cache rather than on ``generate`` because the suite needs what ``generate`` does
not give: rows that leave a batch when they end, a shared beginning that is computed once, an end within one token
from the same thread, and a random stream for each row.
"""

import inspect
from collections.abc import Callable, Generator
from typing import Any

import torch

from pipelines.engines.cache import GrowingCache, PrefixCache, expanded, holds_rows, is_growing, new_cache
from pipelines.engines.sampling import Sampler

__all__ = ["PREFILL_CHUNK", "Passes", "beginning", "decode", "read", "shares_beginnings"]

Passes = Generator[list[tuple[int, int]], set[int] | None, None]
"""What each forward pass brought: (row, token) pairs; send back the rows that have ended."""

PREFILL_CHUNK = 256
"""Prompt tokens of all rows that are read in one forward pass. A pass cannot be interrupted, and Stop has to work
while a long prompt is still being read: this many take 0.45 s with the embedded model on two cores without bfloat16
instructions. Matrix products are at full speed from about 128 rows on."""

SMALLEST_PREFIX = 32
"""Shared beginnings shorter than this are not worth a pass of their own."""


@torch.inference_mode()
def decode(
    model: Any,
    prompts: list[list[int]],
    shared: int,
    sampler: Sampler,
    prefixes: PrefixCache,
    *,
    adapter: str | None = None,
    on_kept: Callable[[list[int]], None] | None = None,
) -> Passes:
    """Generate tokens for prompts, all rows together.

    Yields, after each pass, the new (row, token) pairs of the rows that run; an empty list while prompts are still
    read. Send back the rows that have ended so far; they are dropped from the batch. Close the generator when none
    is left, or at any moment to end the work at once.

    Args:
        model: A causal language model of transformers.
        prompts: Token ids; none empty. Only one where ``holds_rows`` is false of the model's cache.
        shared: How many leading tokens are the same in all prompts and likely to come again.
        sampler: Chooses the tokens.
        prefixes: States of earlier beginnings.
        adapter: The adapter that computes the shared beginning; where rows have different ones nothing can be shared.
        on_kept: Called with the places of the rows that stay, whenever some are dropped.
    """
    device = model.device
    cache = new_cache(model.config)
    shared = min(shared, *(len(prompt) - 1 for prompt in prompts)) if shares_beginnings(model, cache) else 0
    shared = shared if shared >= SMALLEST_PREFIX else 0
    rest = [prompt[shared:] for prompt in prompts]
    rows = list(range(len(prompts)))
    width = max(map(len, rest))
    chunk = max(1, PREFILL_CHUNK // len(rows)) if holds_rows(cache) else width
    if shared:
        prefix = yield from beginning(model, prompts[0][:shared], prefixes, adapter)
        cache = expanded(prefix, len(prompts), width, model.config)

    # Rows are padded between the shared beginning and their own part, so that all of them end in the same column.
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rest], device=device)
    padding = torch.tensor([width - len(row) for row in rest], device=device)[:, None]
    columns = torch.arange(width, device=device)[None, :]
    positions = (columns - padding).clamp(min=0) + shared
    mask = None
    if any(len(row) < width for row in rest):
        mask = torch.cat([padding.new_ones((len(rest), shared)), (columns >= padding).long()], 1)
    logits = yield from read(model, ids, mask, positions, cache, chunk)

    while True:
        tokens = sampler(logits)
        ended = (yield list(zip(rows, tokens.tolist(), strict=True))) or set()
        kept = [place for place, row in enumerate(rows) if row not in ended]
        if len(kept) < len(rows):
            rows = [rows[place] for place in kept]
            tokens, positions = tokens[kept], positions[kept]
            sampler.keep(kept)
            if on_kept:
                on_kept(kept)
            cache.batch_select_indices(torch.tensor(kept))  # layers may be on several devices
            mask = None if mask is None else mask[kept]
        mask = None if mask is None else torch.cat([mask, mask.new_ones((len(rows), 1))], 1)
        positions = positions[:, -1:] + 1
        logits = model(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]


def shares_beginnings(model: Any, cache: GrowingCache) -> bool:
    """Whether states of a beginning serve every prompt that begins so, and forgetting the latest tokens is exact.

    Without positions (MPT) a model counts columns, and padding behind a shared beginning would count too.
    """
    return is_growing(cache) and "position_ids" in inspect.signature(model.forward).parameters


def beginning(
    model: Any, tokens: list[int], prefixes: PrefixCache, adapter: str | None
) -> Generator[list[tuple[int, int]], set[int] | None, GrowingCache]:
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


def read(
    model: Any, ids: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor, cache: Any, chunk: int
) -> Generator[list[tuple[int, int]], set[int] | None, torch.Tensor]:
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
