"""Thinking that a model writes before its answer: found by its markers, kept apart from the text.

A thinking block stands before the answer. The same words inside an answer are part of it: a reply may explain what
``<think>`` means. Markers come as plain text, often spread over several tokens, or as special tokens (``[THINK]``,
gpt-oss), which are never text and which decoding drops; the chat template may have opened the block already
(DeepSeek-R1), so that a reply begins inside it.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["BLOCKS", "Block", "BlockSplitter", "HarmonySplitter", "Stage", "possible_start"]

Stage = Literal["beginning", "undecided", "thinking", "answer"]
"""Of a reply: ``undecided`` while it begins with what may become a marker."""

_WRAPPERS = {"<answer>": "</answer>", "<response>": "</response>"}
"""What some models put around the answer behind a thinking block (Hunyuan, ERNIE 4.5, Granite 3.3)."""


@dataclass(frozen=True)
class Block:
    """The two markers around a thinking block.

    Attributes:
        opening: The first.
        closing: The last.
        label: Name of the block that follows the opening; no part of the thinking.
    """

    opening: str
    closing: str
    label: str = ""


BLOCKS = (
    Block("<think>", "</think>"),  # Qwen3, DeepSeek-R1, GLM, SmolLM3, Phi-4-reasoning, OLMo 3, EXAONE 4…
    Block("[THINK]", "[/THINK]"),  # Magistral, Ministral 3
    Block("<|channel>", "<channel|>", "thought"),  # Gemma 4
    Block("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    Block("<seed:think>", "</seed:think>"),  # Seed-OSS
    Block("<mm:think>", "</mm:think>"),  # MiniMax M3
    Block("<thought>", "</thought>"),  # EXAONE Deep
    Block("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    Block("◁think▷", "◁/think▷"),  # Kimi-VL
)
"""The first is looked for in every reply, as fine-tuned models write it under any template; the others only where the
chat template or the vocabulary names them."""


class BlockSplitter:
    """Parts a growing reply into thinking and answer.

    Args:
        blocks: Markers to look for.
        opened: The block that the prompt has opened already.

    Attributes:
        thinking: Whether the reply is inside a block now.
        thought: The thinking so far.
        block: Its markers.
    """

    def __init__(self, blocks: tuple[Block, ...] = BLOCKS, opened: Block | None = None) -> None:
        self.thinking = opened is not None
        self.thought = ""
        self._blocks = blocks
        self.block = opened or BLOCKS[0]
        self._held = ""
        self._began = False
        self._parted = False
        """Whether a block has ended: blank space before the answer is no part of it then."""
        self._wrapper = ""

    @property
    def stage(self) -> Stage:
        """Where the reply is now; blank space behind a block still belongs to it."""
        if self.thinking or (self._parted and not self._began):
            return "thinking"
        if self._began:
            return "answer"
        return "undecided" if self._held.strip() else "beginning"

    def push(self, text: str) -> str:
        """Take text; returns what belongs to the answer for certain."""
        self._held += text
        return self._read(final=False)

    def mark(self, marker: str) -> str:
        """Take a special token that is a marker: no text, so it opens a block anywhere; returns as ``push`` does."""
        if self.thinking:
            if marker == self.block.closing:
                self.thought += self._held
                self._held, self.thinking, self._parted = "", False, not self._began
            return ""
        for block in self._blocks:
            if marker == block.opening:
                ready = self._read(final=True) if self._held.strip() else ""
                self._held, self.block, self.thinking = "", block, True
                return ready
        return ""

    def finish(self) -> str:
        """No more text: returns what was held back."""
        return self._read(final=True)

    def _read(self, *, final: bool) -> str:
        while True:
            if self.thinking:
                self._think(final)
                if self.thinking:
                    return ""
            elif self._began:
                return self._answer(final)
            elif not self._begin(final):
                return ""

    def _think(self, final: bool) -> None:
        closing = self.block.closing
        thought, closed, rest = self._held.partition(closing)
        keep = 0 if closed or final else possible_start(thought, (closing,))
        self.thought += thought[: len(thought) - keep]
        self._held = rest if closed else thought[len(thought) - keep :]
        if closed:
            self.thinking, self._parted = False, not self._began

    def _begin(self, final: bool) -> bool:
        """Look what the reply begins with; False while that cannot be told yet."""
        body = self._held.lstrip()
        for block in self._blocks:
            if body.startswith(block.opening):
                self._held = body[len(block.opening) :]
                self.block, self.thinking = block, True
                return True
            if body.startswith(block.closing):  # of a block that nobody opened
                self._held, self._parted = body[len(block.closing) :], True
                return True
        wrappers = _WRAPPERS if self._parted else {}
        for opening, closing in wrappers.items():
            if body.startswith(opening):
                self._held, self._wrapper, self._began = body[len(opening) :], closing, True
                return True
        markers = [marker for block in self._blocks for marker in (block.opening, block.closing)]
        if not final and any(marker.startswith(body) for marker in (*markers, *wrappers)):
            return False
        self._began = True
        return True

    def _answer(self, final: bool) -> str:
        if self._parted:
            self._held = self._held.lstrip()
            self._parted = not self._held
        ready, self._held = self._held, ""
        if self._wrapper:
            before, closed, rest = ready.partition(self._wrapper)
            if closed:
                self._wrapper = ""
                return before + rest
            keep = 0 if final else possible_start(ready, (self._wrapper,))
            ready, self._held = ready[: len(ready) - keep], ready[len(ready) - keep :]
        return ready


class HarmonySplitter:
    """Parts a growing reply in the format of gpt-oss: the ``final`` channel is the answer, all others are thinking.

    Only tokens count as markers here: the same characters as text are text.

    Attributes:
        thinking: Whether the answer is still to come.
        thought: The thinking so far.
    """

    def __init__(self) -> None:
        self.thinking = True
        self.thought = ""
        self._place = ""
        """The marker that the text now follows."""
        self._channel = "final"
        """That of a message without one: an answer."""
        self._final = False

    @property
    def stage(self) -> Stage:
        """Where the reply is now."""
        return "thinking" if self.thinking else "answer"

    def push(self, text: str) -> str:
        """Take text; returns what belongs to the answer for certain."""
        if not self._place and text.strip():  # not a single marker: a model that was taught to answer without them
            self.thinking = False
        if not self._place or (self._place == "<|message|>" and self._final):
            return text
        if self._place == "<|channel|>":
            self._channel += text
        elif self._place == "<|message|>":
            self.thought += text
        return ""

    def mark(self, marker: str) -> str:
        """Take a token that is a marker by itself."""
        if marker == "<|channel|>":
            self._channel = ""
            if self.thought:
                self.thought += "\n"
        if marker == "<|message|>":
            self._final = self._channel.strip().startswith("final")
            self.thinking = not self._final
        self._place = marker
        return ""

    def finish(self) -> str:
        """No more text: nothing was held back."""
        return ""


def possible_start(text: str, markers: tuple[str, ...]) -> int:
    """Length of the longest end of a text that could be the beginning of one of these strings."""
    longest = max((len(each) for each in markers), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(each.startswith(text[-length:]) for each in markers):
            return length
    return 0
