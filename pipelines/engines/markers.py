"""Which markers part a model's thinking from its answers, and what a person is told of the thinking."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.engines.thinking import BLOCKS, Block, BlockSplitter, HarmonySplitter
from pipelines.generation import FinishReason, Note

__all__ = ["Markers", "joined_thoughts", "thought_note"]

MOST_CHARACTERS = 4000
"""Of a longer thinking the note keeps the beginning and the end."""

_HARMONY = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>")
"""Tokens of the format of gpt-oss: a reply is several messages, each with a channel; ``final`` is the answer."""


@dataclass(frozen=True)
class Markers:
    """How one model marks its thinking.

    Attributes:
        blocks: Markers to look for.
        opened: The block that its prompt opens.
        tokens: Special tokens that are a marker, with its text.
        harmony: Whether it writes the format of gpt-oss.
    """

    blocks: tuple[Block, ...] = BLOCKS[:1]
    opened: Block | None = None
    tokens: Mapping[int, str] = field(default_factory=dict)
    harmony: bool = False

    @classmethod
    def of(
        cls, template: str, generation_prompt: str, vocabulary: Mapping[str, int], special: Collection[int]
    ) -> "Markers":
        """The markers of a model.

        Args:
            template: Its chat template.
            generation_prompt: What that writes behind the last message, up to the reply.
            vocabulary: Its added tokens.
            special: Those that leave no text.
        """
        if "<|channel|>" in template and all(vocabulary.get(marker) in special for marker in _HARMONY[:4]):
            tokens = {vocabulary[marker]: marker for marker in _HARMONY if marker in vocabulary}
            return cls(tokens=tokens, harmony=True)
        others = [block for block in BLOCKS[1:] if block.opening in template or block.opening in vocabulary]
        blocks = (BLOCKS[0], *others)
        markers = [marker for block in blocks for marker in (block.opening, block.closing)]
        opened = [
            block for block in blocks if generation_prompt.rfind(block.opening) > generation_prompt.rfind(block.closing)
        ]
        tokens = {vocabulary[marker]: marker for marker in markers if vocabulary.get(marker) in special}
        return cls(blocks, opened[0] if opened else None, tokens)

    def splitter(self) -> BlockSplitter | HarmonySplitter:
        """What parts one reply."""
        return HarmonySplitter() if self.harmony else BlockSplitter(self.blocks, self.opened)


def thought_note(splitter: BlockSplitter | HarmonySplitter, tokens: int, reason: FinishReason) -> Note | None:
    """What to tell a person of the thinking in a reply that has ended; None where there was none.

    Args:
        splitter: What parted the reply.
        tokens: Tokens up to the end of the thinking.
        reason: Why the reply ended.
    """
    thought = splitter.thought.strip()
    if isinstance(splitter, BlockSplitter):  # a model may repeat the opening that its prompt holds already
        thought = thought.removeprefix(splitter.block.opening).removeprefix(splitter.block.label).strip()
    if not thought and not (splitter.thinking and reason == "length"):
        return None
    code = "model_thought_only" if splitter.thinking else "model_thought"
    return Note(code, {"characters": len(thought), "tokens": tokens, "text": _ends(thought)})


def joined_thoughts(notes: Sequence[Note]) -> list[Note]:
    """The notes of a request, those on what the model thought before each of its answers made one."""
    thoughts = [note.parameters for note in notes if note.code == "model_thought"]
    if len(thoughts) < 2:
        return list(notes)
    whole = {name: sum(each[name] for each in thoughts) for name in ("characters", "tokens")}
    note = Note("model_thought", {**whole, "text": _ends("\n\n".join(each["text"] for each in thoughts))})
    place = next(place for place, each in enumerate(notes) if each.code == note.code)
    others = [each for each in notes if each.code != note.code]
    return [*others[:place], note, *others[place:]]


def _ends(thought: str) -> str:
    half = MOST_CHARACTERS // 2
    return thought if len(thought) <= MOST_CHARACTERS else f"{thought[:half]}\n[…]\n{thought[-half:]}"
