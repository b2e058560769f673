"""From tokens to text, piece by piece: whole characters only, and nothing of a stop string."""

from typing import Any

__all__ = ["TextAssembler"]


class TextAssembler:
    """Collects the tokens of one reply.

    Args:
        tokenizer: For decoding; special tokens leave no text.
        stop: Strings that end the text; neither they nor what follows becomes part of it.

    Attributes:
        text: What has been handed out.
        stopped: Whether a stop string has come.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(each for each in stop if each)
        self._tokens: list[int] = []
        # Decoding starts at a token before the new ones: some tokenizers drop the space of a first token.
        self._context = 0
        self._decoded = 0
        self._held = ""
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Take a token; returns the text that is certain now, often ""."""
        self._tokens.append(token)
        return self._hand_out(self._new_text(), final=False)

    def finish(self) -> str:
        """No more tokens: returns what was held back."""
        return self._hand_out(self._new_text(final=True), final=True)

    def _new_text(self, final: bool = False) -> str:
        known = self._decode(self._tokens[self._context : self._decoded])
        grown = self._decode(self._tokens[self._context :])
        # A replacement character at the end is half of a character whose other tokens are still to come.
        if not final and grown.endswith("\ufffd"):
            return ""
        self._context, self._decoded = self._decoded, len(self._tokens)
        return grown[len(known) :]

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _hand_out(self, new: str, *, final: bool) -> str:
        if self.stopped:
            return ""
        pending = self._held + new
        found = [pending.find(stop) for stop in self._stop if stop in pending]
        if found:
            self.stopped = True
            ready, self._held = pending[: min(found)], ""
        else:
            keep = 0 if final else _possible_start(pending, self._stop)
            ready, self._held = pending[: len(pending) - keep], pending[len(pending) - keep :]
        self.text += ready
        return ready


def _possible_start(text: str, stop: tuple[str, ...]) -> int:
    """Length of the longest end of a text that could be the beginning of a stop string."""
    longest = max((len(each) for each in stop), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(each.startswith(text[-length:]) for each in stop):
            return length
    return 0
