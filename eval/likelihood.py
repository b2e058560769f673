"""How well a model foresees the replies that rows give: the judgement that every task has, whatever its metrics."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Asked", "TokenRow", "foreseen", "reference_bits"]

_PASS_TOKENS = 1024
"""Padded tokens of one pass: with a vocabulary of 50,000 their logits take 200 MB in float32."""


class TokenRow(Protocol):
    """A row as a model reads it."""

    @property
    def tokens(self) -> list[int]:
        """Of a causal model prompt and reply; of an encoder–decoder model what the decoder holds."""

    @property
    def labels(self) -> list[bool]:
        """Which of ``tokens`` are foreseen, one for each; never the first."""

    @property
    def encoder(self) -> list[int] | None:
        """What the encoder reads; None for a causal model."""


@dataclass(frozen=True)
class Asked:
    """A ``TokenRow`` of a causal model.

    Attributes:
        tokens: Prompt and reply.
        labels: Which of ``tokens`` are foreseen.
        encoder: None.
    """

    tokens: list[int]
    labels: list[bool]
    encoder: None = None


def reference_bits(model: Any, rows: Sequence[TokenRow]) -> list[float]:
    """Minus log2 of the probability of each row's reply, its end included.

    Args:
        model: A causal or an encoder–decoder model of transformers, with or without an adapter in force.
        rows: Rendered rows.

    Returns:
        Bits of each row, in the order given.
    """
    import torch

    found = [0.0] * len(rows)
    with torch.inference_mode():
        for places, tokens in _batches(model, rows):
            chosen, device = [rows[place] for place in places], tokens.device
            labels = _stacked([[int(label) for label in row.labels] for row in chosen]).to(device).bool()
            inputs: dict[str, Any] = {"input_ids": tokens[:, :-1]}
            # Padding stands behind the rows, where a causal mask hides it from them.
            if chosen[0].encoder is not None:
                encoder = [row.encoder or [] for row in chosen]
                inputs = {
                    "decoder_input_ids": tokens[:, :-1],
                    "input_ids": _stacked(encoder).to(device),
                    "attention_mask": _stacked([[1] * len(ids) for ids in encoder]).to(device),
                }
            logits = model(**inputs, use_cache=False).logits
            wanted = labels[:, 1:]
            losses = torch.zeros(wanted.shape, device=device)
            losses[wanted] = torch.nn.functional.cross_entropy(
                logits[wanted].float(), tokens[:, 1:][wanted], reduction="none"
            )
            for place, nats in zip(places, losses.double().sum(1).tolist(), strict=True):
                found[place] = nats / math.log(2)
    return found


def foreseen(model: Any, rows: Sequence[Asked]) -> list[int]:
    """How many of the labelled tokens of each row greedy decoding would write, up to the first that it would not.

    One pass is enough: as long as the model's first choice is the row's own token, both go on from the same text.

    Args:
        model: A causal model of transformers, with or without an adapter in force.
        rows: Whose labelled tokens stand at their end.

    Returns:
        Tokens of each row, in the order given.
    """
    import torch

    found = [0] * len(rows)
    with torch.inference_mode():
        for places, tokens in _batches(model, rows):
            chosen = [rows[place] for place in places]
            first = model(input_ids=tokens[:, :-1], use_cache=False).logits.argmax(-1)
            hits = (first == tokens[:, 1:]).tolist()
            for place, row, hit in zip(places, chosen, hits, strict=True):
                begins = row.labels.index(True) - 1
                found[place] = next(
                    (n for n, each in enumerate(hit[begins : len(row.tokens) - 1]) if not each),
                    len(row.tokens) - 1 - begins,
                )
    return found


def _batches(model: Any, rows: Sequence[TokenRow]) -> Iterator[tuple[list[int], Any]]:
    """Places of rows of similar length, and their tokens, padded behind, where the model is: (rows, columns)."""
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda place: len(rows[place].tokens))
    for bundle in _passes([len(rows[place].tokens) for place in order]):
        places = [order[place] for place in bundle]
        yield places, _stacked([rows[place].tokens for place in places]).to(device)


def _passes(lengths: Sequence[int]) -> list[range]:
    """Places of neighbours, ascending in length, whose padded tokens fit into a pass."""
    passes, start = [], 0
    for place, length in enumerate(lengths):
        if place > start and (place - start + 1) * length > _PASS_TOKENS:
            passes.append(range(start, place))
            start = place
    return [*passes, range(start, len(lengths))] if lengths else []


def _stacked(rows: Sequence[Sequence[int]]) -> Any:
    import torch

    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
