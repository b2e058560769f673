"""How long a model's input and reply may be: each has a length of its own in an encoder–decoder model."""

from dataclasses import dataclass
from typing import Any

__all__ = ["RELATIVE_LIMIT", "Limits", "limits_of"]

RELATIVE_LIMIT = 512
"""Tokens of input and reply where positions are relative (T5 and its kin) and no file names a limit. Nothing breaks
beyond it, but T5 was trained with no longer text (arXiv:1910.10683, 3.1.1)."""

_UNSTATED = 1_000_000
"""Tokenizers without a limit of their own say 1e30."""


@dataclass(frozen=True)
class Limits:
    """Positions.

    Attributes:
        encoder: Tokens that the encoder reads at most, special ones included.
        decoder: Tokens that the decoder holds at most, start tokens included.
        hard: Whether there are no positions beyond (a table that ends), or only no experience.
    """

    encoder: int
    decoder: int
    hard: bool


def limits_of(config: Any, tokenizer: Any) -> Limits:
    """Read the lengths from a model's config and tokenizer."""
    said = tokenizer.model_max_length
    said = int(said) if said and said < _UNSTATED else None
    encoder = _positions(config, "encoder")
    decoder = _positions(config, "decoder")
    if encoder is None or decoder is None:
        limit = said or getattr(config, "n_positions", None) or RELATIVE_LIMIT
        return Limits(limit, limit, hard=False)
    return Limits(min(encoder, said or encoder), decoder, hard=True)


def _positions(config: Any, side: str) -> int | None:
    """Positions of one side: LED names them apart, T5Gemma has a config for each, the others share one number."""
    of_side = getattr(config, side, None)
    return (
        getattr(config, f"max_{side}_position_embeddings", None)
        or getattr(of_side, "max_position_embeddings", None)
        or getattr(config, "max_position_embeddings", None)
    )
