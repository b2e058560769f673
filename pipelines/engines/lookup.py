"""Prompt lookup: guess the next tokens from what the text so far, prompt included, went on with in the same place.

Translations, summaries and edits of code copy: names, quotations, whole lines. A guess that stands after the same words
earlier costs nothing to make, and the model checks all of its tokens in one pass (Saxena, "Prompt Lookup Decoding",
2023). Only what the model would have written anyway is kept, so the reply is the same; it comes sooner.
"""

from collections import defaultdict

__all__ = ["Lookup"]

LONGEST = 12
"""Tokens of a guess. On two cores without bfloat16 instructions a pass of 13 tokens takes 2.3 times as long as one of a
single token, on a GPU hardly longer: the copy-like workload of ``bench/speed.py`` is as fast with 10 or 16."""

SHORTEST_MATCH = 3
"""Tokens that must agree before a guess. After two the next is a matter of chance: in open text such guesses made
replies 5 % slower, and copied ones no faster."""

CANDIDATES, LONGEST_MATCH = 32, 24
"""Earlier places that are compared, the latest first, and over how many tokens: bounds the time in a text of
thousands of equal lines."""

PRICE, START, ALLOWANCE, MOST = 1.8, 3.6, 0.01, 10.0
"""The account of guesses, in passes of one token. Each takes ``PRICE`` (what a pass of several tokens takes beyond one
of a single token where one-row products read bfloat16 copies; less elsewhere) and brings what is accepted of it. A text
that copies nothing costs ``START`` and ``ALLOWANCE`` of its passes, one that stops copying at most ``MOST`` more."""


class Lookup:
    """Guesses for one reply.

    Args:
        prompt: Tokens of the prompt.
    """

    def __init__(self, prompt: list[int]) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, ...], list[int]] = defaultdict(list)
        self._credit = START
        for token in prompt:
            self._append(token)

    def guess(self) -> list[int]:
        """Tokens that may come next, often none."""
        if self._credit < PRICE:
            return []
        size = len(self._tokens)
        # The last place is the end itself.
        earlier = self._places.get(tuple(self._tokens[-SHORTEST_MATCH:]), [])[-CANDIDATES - 1 : -1]
        best, longest = 0, 0
        for place in reversed(earlier):
            length = self._match(place, size)
            if length > longest:
                best, longest = place, length
        if not longest:
            return []
        # Few after a few words that may agree by chance, unless guesses have been right.
        most = min(LONGEST, max(3 * longest, 2 + round(self._credit)))
        follows = self._tokens[best : best + most]
        # A place just before the end is a circle: what follows it is what follows it again.
        return (follows * most)[:most] if best + most > size else follows

    def record(self, guessed: int, tokens: list[int]) -> None:
        """Tell what came: the tokens of a pass, of which all but the last had been guessed."""
        for token in tokens:
            self._append(token)
        gain = len(tokens) - 1 - PRICE if guessed else 0.0
        self._credit = min(MOST, self._credit + gain + ALLOWANCE)

    def _match(self, place: int, size: int) -> int:
        """How many tokens before ``place`` agree with the end of the text."""
        most = min(place, LONGEST_MATCH)
        before, ending = self._tokens[place - most : place], self._tokens[size - most : size]
        return next((length for length in range(most) if before[-1 - length] != ending[-1 - length]), most)

    def _append(self, token: int) -> None:
        self._tokens.append(token)
        if len(self._tokens) >= SHORTEST_MATCH:
            # Where the text goes on after these tokens.
            self._places[tuple(self._tokens[-SHORTEST_MATCH:])].append(len(self._tokens))
