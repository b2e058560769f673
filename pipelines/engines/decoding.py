"""The token loop of the local engine: one forward pass per token for all rows that still run.

Written on transformers' model and cache rather than on ``generate`` because the suite needs what ``generate`` does
not give: rows that leave a batch when they end, a shared beginning that is computed once, an end within one token
from the same thread, and a random stream for each row.
"""

from collections.abc import Generator
from typing import Any

import torch

from pipelines.engines.cache import PrefixCache, expanded, is_growing, new_cache
from pipelines.engines.sampling import Sampler

__all__ = ["PREFILL_CHUNK", "decode"]

PREFILL_CHUNK = 512
"""Prompt tokens of all rows that are read in one forward pass. A pass cannot be interrupted; this many take about 0.2 s
on two CPU cores with the embedded model, so that Stop works while a long prompt is still being read."""

SMALLEST_PREFIX = 32
"""Shared beginnings shorter than this are not worth a pass of their own."""


@torch.inference_mode()
def decode(
    model: Any, prompts: list[list[int]], shared: int, sampler: Sampler, prefixes: PrefixCache
) -> Generator[list[tuple[int, int]], set[int] | None, None]:
    """Generate tokens for prompts, all rows together.

    Yields, after each pass, the new (row, token) pairs of the rows that run; an empty list while prompts are still
    read. Send back the rows that have ended so far; they are dropped from the batch. Close the generator when none
    is left, or at any moment to end the work at once.

    Args:
        model: A causal language model of transformers.
        prompts: Token ids; none empty.
        shared: How many leading tokens are the same in all prompts and likely to come again.
        sampler: Chooses the tokens.
        prefixes: States of earlier beginnings.
    """
    device = model.device
    shared = min(shared, *(len(prompt) - 1 for prompt in prompts))
    shared = shared if shared >= SMALLEST_PREFIX else 0
    rest = [prompt[shared:] for prompt in prompts]
    rows = list(range(len(prompts)))
    width = max(map(len, rest))
    cache = new_cache(model.config)
    if shared:
        prefix = prefixes.get(tuple(prompts[0][:shared]))
        if prefix is None:
            # Always a pass of its own, whether it is found again or not: the same request then does the same
            # arithmetic each time, and a seed gives the same text.
            prefix = new_cache(model.config)
            yield from _read(model, torch.tensor([prompts[0][:shared]], device=device), None, None, prefix)
            if is_growing(prefix):
                prefixes.put(tuple(prompts[0][:shared]), prefix)
        cache = expanded(prefix, len(prompts), width, model.config) if is_growing(prefix) else prefix
        if not is_growing(prefix) and len(prompts) > 1:
            cache.batch_repeat_interleave(len(prompts))

    # Rows are padded between the shared beginning and their own part, so that all of them end in the same column.
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rest], device=device)
    mask = positions = None
    if any(len(row) < width for row in rest):
        padding = torch.tensor([width - len(row) for row in rest], device=device)[:, None]
        columns = torch.arange(width, device=device)[None, :]
        own = columns >= padding
        mask = torch.cat([torch.ones((len(rest), shared), dtype=torch.bool, device=device), own], 1).long()
        positions = (columns - padding).clamp(min=0) + shared
    logits = yield from _read(model, ids, mask, positions, cache)

    while True:
        tokens = sampler(logits)
        ended = (yield list(zip(rows, tokens.tolist(), strict=True))) or set()
        kept = [place for place, row in enumerate(rows) if row not in ended]
        if len(kept) < len(rows):
            rows = [rows[place] for place in kept]
            tokens = tokens[kept]
            sampler.keep(kept)
            cache.batch_select_indices(torch.tensor(kept, device=device))
            if mask is not None and positions is not None:
                mask, positions = mask[kept], positions[kept]
        if mask is not None and positions is not None:
            mask = torch.cat([mask, mask.new_ones((len(rows), 1))], 1)
            positions = positions[:, -1:] + 1
        logits = model(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]


def _read(
    model: Any, ids: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor | None, cache: Any
) -> Generator[list[tuple[int, int]], set[int] | None, torch.Tensor]:
    """Read prompts into the cache, a chunk at a time; returns the logits after the last token, (rows, vocabulary)."""
    step = max(1, PREFILL_CHUNK // len(ids))
    logits = None
    for start in range(0, ids.shape[1], step):
        if start:
            yield []
        end = min(start + step, ids.shape[1])
        held = cache.get_seq_length()
        logits = model(
            input_ids=ids[:, start:end],
            attention_mask=None if mask is None else mask[:, : held + end - start],
            position_ids=None if positions is None else positions[:, start:end],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
    assert logits is not None
    return logits
