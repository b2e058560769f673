"""From tokens to text, piece by piece: whole characters only, no thinking, and nothing of a stop string."""

from typing import Any

from pipelines.engines.markers import Markers
from pipelines.engines.thinking import possible_start

__all__ = ["TextAssembler"]


class TextAssembler:
    """Collects the tokens of one reply.

    Args:
        tokenizer: For decoding; special tokens leave no text.
        stop: Strings that end the text; neither they nor what follows becomes part of it.
        markers: What parts thinking from the text; stop strings in it end nothing. None where the model never thinks.

    Attributes:
        text: What has been handed out.
        stopped: Whether a stop string has come.
        splitter: Holds the thinking.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...] = (), markers: Markers | None = None) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(each for each in stop if each)
        markers = markers or Markers(blocks=())
        self.splitter = markers.splitter()
        self._markers = markers.tokens
        self._tokens: list[int] = []
        # Decoding starts at a token before the new ones: some tokenizers drop the space of a first token.
        self._context = 0
        self._decoded = 0
        self._held = ""
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Take a token; returns the text that is certain now, often ""."""
        marker = self._markers.get(token)
        if marker is None:
            self._tokens.append(token)
            return self._hand_out(self.splitter.push(self._new_text()), final=False)
        # Special tokens leave no text, but those that mark thinking must be seen.
        text = self.splitter.push(self._new_text(final=True)) + self.splitter.mark(marker)
        self._tokens.append(token)
        self._context, self._decoded = len(self._tokens) - 1, len(self._tokens)
        return self._hand_out(text, final=False)

    def finish(self) -> str:
        """No more tokens: returns what was held back."""
        text = self.splitter.push(self._new_text(final=True)) + self.splitter.finish()
        return self._hand_out(text, final=True)

    def _new_text(self, final: bool = False) -> str:
        known = self._decode(self._tokens[self._context : self._decoded])
        grown = self._decode(self._tokens[self._context :])
        # A replacement character at the end is half of a character whose other tokens are still to come.
        if not final and grown.endswith("\ufffd"):
            return ""
        # A token without text so far may be the space of the next one, which SentencePiece's decoder strips at an end:
        # the window must go on beginning before it, as it strips the space of a first token, too.
        if not final and grown == known:
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
            keep = 0 if final else possible_start(pending, self._stop)
            ready, self._held = pending[: len(pending) - keep], pending[len(pending) - keep :]
        self.text += ready
        return ready
