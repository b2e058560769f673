"""The token loop for a single reply: goes on where a conversation ended, and guesses tokens that it then checks."""

from typing import Any

import torch

from pipelines.engines.cache import PrefixCache, expanded, new_cache
from pipelines.engines.conversations import Conversation, Conversations
from pipelines.engines.lookup import Lookup
from pipelines.engines.prefill import SMALLEST_PREFIX, Passes, beginning, read
from pipelines.engines.sampling import Sampler
from pipelines.engines.sizes import PREFILL_CHUNK

__all__ = ["decode_one"]


@torch.inference_mode()
def decode_one(
    model: Any,
    prompt: list[int],
    shared: int,
    sampler: Sampler,
    prefixes: PrefixCache,
    *,
    adapter: str | None = None,
    conversations: Conversations | None = None,
    lookup: Lookup | None = None,
) -> Passes:
    """Generate for one prompt, on a model whose cache ``shares_beginnings``.

    The same contract as ``decoding.decode``, except that a pass may bring several tokens.

    Args:
        model: A causal language model of transformers.
        prompt: Token ids, not empty.
        shared: How many leading tokens are likely to come again in other prompts.
        sampler: Chooses the tokens.
        prefixes: States of earlier beginnings.
        adapter: The adapter in force.
        conversations: Where given, the prompt may go on with one of them, and becomes one.
        lookup: Guesses tokens.
    """
    found = conversations.take(adapter, prompt) if conversations is not None else None
    if found:
        conversation, start = found
        conversation.cache.keep_first(start)
        conversation.places = sorted({*(place for place in conversation.places if place < start), start})
        conversation.prompt, conversation.tokens = len(prompt), [*prompt]
    else:
        start = min(shared, len(prompt) - 1)
        start = start if start >= SMALLEST_PREFIX else 0
        conversation = Conversation(adapter, [*prompt], new_cache(model.config), len(prompt))
        if start:
            prefix = yield from beginning(model, prompt[:start], prefixes, adapter)
            conversation.cache = expanded(prefix, 1, len(prompt) - start, model.config)
    try:
        yield from _generate(model, conversation, start, sampler, lookup)
    except Exception:
        conversations = None  # out of memory, say: its states are not whole
        raise
    finally:
        if conversations is not None:
            del conversation.tokens[conversation.cache.get_seq_length() :]
            conversations.put(conversation)


def _generate(model: Any, conversation: Conversation, start: int, sampler: Sampler, lookup: Lookup | None) -> Passes:
    device, cache, text = model.device, conversation.cache, conversation.tokens
    ids = torch.tensor([text[start:]], device=device)
    places = torch.arange(start, len(text), device=device)[None]
    logits = yield from read(model, ids, None, places, cache, PREFILL_CHUNK)
    guess: list[int] = []
    while True:
        new = _checked(logits, guess, sampler)
        if len(new) <= len(guess):
            cache.keep_first(len(text) + len(new) - 1)
        text += new
        if lookup is not None:
            lookup.record(len(guess), new)
        yield [(0, token) for token in new]
        guess = lookup.guess() if lookup is not None else []
        # The last token that was chosen has no states yet: it is read together with what may follow it.
        ids = torch.tensor([[new[-1], *guess]], device=device)
        places = torch.arange(len(text) - 1, len(text) + len(guess), device=device)[None]
        logits = model(input_ids=ids, position_ids=places, past_key_values=cache, use_cache=True).logits[0]


def _checked(logits: torch.Tensor, guess: list[int], sampler: Sampler) -> list[int]:
    """The tokens that the model chooses after a guess: those it agrees with, and one of its own.

    Each is chosen from its own logits in order, so that sampling draws the same numbers as it would one by one.
    """
    new: list[int] = []
    for place in range(len(guess) + 1):
        new.append(int(sampler(logits[place : place + 1])[0]))
        if place == len(guess) or new[-1] != guess[place]:
            break
    return new
