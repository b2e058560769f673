"""Tokens of templated texts, a piece at a time: what stands in every row is encoded once."""

import re
from itertools import pairwise
from typing import Any

__all__ = ["Pieces"]

KNOWN, LONGEST_KNOWN = 1000, 1000
"""How many pieces are remembered, and characters of the longest one: system messages, heads of turns."""


class Pieces:
    """Encodes texts that a chat template wrote.

    A fast tokenizer looks for its added tokens first and encodes what stands between them on its own. So a text may be
    cut before each special token and the tokens of its pieces joined: on prompts of 300 tokens that is three times as
    fast as encoding a prompt, and then the prompt with its reply. Tokens that take blank space before them or ask what
    stands there are no place to cut; a tokenizer in Python encodes whole texts.

    Args:
        tokenizer: The model's; it encodes nothing else from now on.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend = getattr(tokenizer, "backend_tokenizer", None) if tokenizer.is_fast else None
        self._known: dict[str, list[int]] = {}
        added = tokenizer.added_tokens_decoder.values()
        marks = [
            re.escape(token.content)
            for token in added
            if token.special and token.content and not (token.lstrip or token.single_word or token.normalized)
        ]
        self._mark = re.compile("|".join(sorted(marks, key=len, reverse=True))) if marks and self._backend else None
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, without those that a tokenizer adds around bare texts."""
        if self._backend is None:
            ids: list[list[int]] = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
            return ids
        cut = [self._cut(text) for text in texts]
        wanted = list(dict.fromkeys(piece for pieces in cut for piece in pieces if piece not in self._known))
        encodings = self._backend.encode_batch_fast(wanted, add_special_tokens=False)
        found = {piece: encoding.ids for piece, encoding in zip(wanted, encodings, strict=True)}
        # Not "found.get(piece) or …": a piece may have no tokens at all, as blank space that a tokenizer strips.
        known = self._known
        tokens = [[t for piece in pieces for t in (found[piece] if piece in found else known[piece])] for pieces in cut]
        if len(self._known) > KNOWN:
            self._known.clear()
        self._known.update((piece, ids) for piece, ids in found.items() if len(piece) <= LONGEST_KNOWN)
        return tokens

    def _cut(self, text: str) -> list[str]:
        if self._mark is None:
            return [text]
        places = [0, *(match.start() for match in self._mark.finditer(text) if match.start()), len(text)]
        return [text[start:end] for start, end in pairwise(places)]
