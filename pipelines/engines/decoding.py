"""The token loop of the local engine: one forward pass per token for all rows that still run.

Written on transformers' model and cache rather than on ``generate`` because the suite needs what ``generate`` does
not give: rows that leave a batch when they end, a shared beginning that is computed once, an end within one token
from the same thread, and a random stream for each row.
"""

from collections.abc import Callable
from typing import Any

import torch

from pipelines.engines.cache import PrefixCache, expanded, holds_rows, new_cache
from pipelines.engines.prefill import (
    SMALLEST_PREFIX,
    Passes,
    beginning,
    padded,
    read,
    read_rows,
    shares_beginnings,
)
from pipelines.engines.sampling import Sampler
from pipelines.engines.sizes import PREFILL_CHUNK

__all__ = ["decode"]


@torch.inference_mode()
def decode(
    model: Any,
    prompts: list[list[int]],
    shared: int,
    sampler: Sampler,
    prefixes: PrefixCache,
    *,
    adapter: str | None = None,
    mixed: bool = False,
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
        mixed: Whether rows have different adapters: then a forward pass must have all of them in their places.
        on_kept: Called with the places of the rows that stay, whenever some are dropped.
    """
    cache: Any = new_cache(model.config)
    shares = shares_beginnings(model, cache)
    shared = min(shared, *(len(prompt) - 1 for prompt in prompts)) if shares else 0
    shared = shared if shared >= SMALLEST_PREFIX else 0
    rest = [prompt[shared:] for prompt in prompts]
    rows = list(range(len(prompts)))
    prefix = (yield from beginning(model, prompts[0][:shared], prefixes, adapter)) if shared else None

    # Rows are padded between the shared beginning and their own part, so that all of them end in the same column.
    ids, mask, positions = padded(rest, shared, model.device)
    if shares and not mixed:
        cache, logits = yield from read_rows(model, rest, prefix)
    else:
        if prefix:
            cache = expanded(prefix, len(prompts), ids.shape[1], model.config)
        chunk = max(1, PREFILL_CHUNK // len(rows)) if holds_rows(cache) else ids.shape[1]
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
