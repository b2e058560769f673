"""How much memory a model will take, before it is loaded.

What is counted, and what it was compared with (``tests/test_pipelines_models_memory.py``: the growth of a process that
loads a model and generates, libraries apart; within 15 %):

- Weights count in full on the processor too, where torch maps the file instead of copying it: the system could drop
  such pages, but every token reads all of them again.
- Pages of a checkpoint that is converted while it is loaded do not count: the system drops them when it needs room.
- Keys and values are counted for one request of ``REQUEST_TOKENS`` tokens, not for the whole context of the model:
  people use a fraction of the 131,072 tokens that a small model may offer, and would be refused for nothing. What one
  longer request needs is known when it comes (``placement.check_call``).
- What CUDA's libraries load into the memory of a GPU is a constant of experience, not measured here.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.models.shape import ModelShape, shape_of
from pipelines.models.source import ModelSource

if TYPE_CHECKING:
    from pipelines.engines.device import DeviceChoice

__all__ = ["REQUEST_TOKENS", "MemoryEstimate", "cache_bytes", "estimate", "gigabytes"]

REQUEST_TOKENS = 512
"""Tokens of the request that must fit beside the weights, prompt and reply: a paragraph and its translation."""

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_FOUR_BIT = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in bitsandbytes' NF4 with doubly quantized scales: one byte for 64 weights, a float32 for 256 of
these."""
_RUNTIME = {"cpu": 0, "mps": 300_000_000, "cuda": 600_000_000}
_TOKENIZER_ENTRY = 850
"""Bytes that ``tokenizers`` takes for an entry of a byte-level vocabulary with its merges: 42 MB for 49,152."""
_UNPACKING = 2.2
"""Times its size that a weight of a GGUF takes while it is unpacked, itself apart."""
_RECURRENT_STATE = 2 * 128 * 4
"""Bytes of state for each unit of width in recurrent layers (Mamba 2, gated delta nets: 2 x expansion, 128 wide)."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes, by what takes them.

    Attributes:
        weights: Parameters in their number format.
        buffers: What is not learned.
        copies: bfloat16 copies for one-row products.
        cache: Keys and values of ``rows`` texts of ``tokens`` tokens.
        workspace: What one pass needs in between: activations, masks, logits.
        tokenizer: The tokenizer, in main memory.
        loading: What loading needs on top of the weights, and gives back before anything is generated.
        runtime: The device's own libraries.
        tokens: Tokens of each row.
        rows: Texts at once.
        approximate: Why this is rougher than usual; empty for plain transformers.
    """

    weights: int
    buffers: int
    copies: int
    cache: int
    workspace: int
    tokenizer: int
    loading: int
    runtime: int
    tokens: int
    rows: int
    approximate: tuple[str, ...] = ()

    @property
    def device(self) -> int:
        """The most that is held at once where the model runs, without the tokenizer."""
        return self.weights + self.buffers + self.runtime + max(self.loading, self.copies + self.cache + self.workspace)

    @property
    def total(self) -> int:
        """All of it."""
        return self.device + self.tokenizer

    def held(self, kind: str) -> int:
        """What is taken of a device's memory; the tokenizer is in main memory, which Apple's GPUs share."""
        return self.device if kind == "cuda" else self.total


def estimate(
    source: ModelSource | ModelShape, choice: "DeviceChoice", *, tokens: int = REQUEST_TOKENS, rows: int = 1
) -> MemoryEstimate:
    """The memory that a model takes while it generates.

    Args:
        source: Where the model is, or its shape where that is known already.
        choice: Device, number format and quantization.
        tokens: Prompt and reply of each row.
        rows: Texts at once.

    Raises:
        Exception: Whatever transformers raises for a configuration that it cannot read or build.
    """
    shape = source if isinstance(source, ModelShape) else shape_of(source)
    size = _BYTES[choice.dtype]
    return MemoryEstimate(
        weights=_weights(shape, choice.dtype, choice.quantization),
        buffers=shape.buffers,
        copies=2 * shape.one_row if choice.one_row else 0,
        cache=cache_bytes(shape, size, tokens, rows),
        workspace=_workspace(shape, size, tokens, rows, eager=_eager(shape, choice)),
        tokenizer=_TOKENIZER_ENTRY * shape.vocabulary,
        loading=round(_UNPACKING * 4 * shape.largest) if shape.gguf else 0,
        runtime=_RUNTIME[choice.kind],
        tokens=tokens,
        rows=rows,
        approximate=shape.approximate,
    )


def cache_bytes(shape: ModelShape, size: int, tokens: int, rows: int = 1) -> int:
    """Bytes of keys and values, the room of ``cache.py`` that is not filled yet included.

    Args:
        shape: The model.
        size: Bytes of a number.
        tokens: Tokens of each row.
        rows: Texts at once.
    """
    room = _room(tokens, rows)
    held = sum(room if window is None else min(tokens, window) for window in shape.windows)
    return rows * (held * shape.state * size + shape.recurrent * shape.hidden * _RECURRENT_STATE)


def gigabytes(size: float) -> str:
    """A size for a sentence: ``1.2 GB`` (decimal)."""
    return f"{size / 1e9:.1f} GB"


def _weights(shape: ModelShape, dtype: str, quantization: str | None) -> int:
    if shape.stored is not None:
        return shape.stored
    size = _BYTES[dtype]
    total = shape.parameters * size
    if dtype != "float32":
        kept = shape.float32_always + (shape.float32_in_half if dtype == "float16" else 0)
        total += kept * (4 - size)
    if quantization == "8bit":
        return total - shape.linear * (size - 1) + 4 * shape.linear_rows
    if quantization == "4bit":
        return total - round(shape.linear * (size - _FOUR_BIT))
    return total


def _eager(shape: ModelShape, choice: "DeviceChoice") -> bool:
    """Whether attention writes its scores out: all heads times all tokens."""
    return choice.attention == "eager" or (choice.attention != "flash_attention_2" and "sdpa" not in shape.attention)


def _room(tokens: int, rows: int) -> int:
    """Tokens that a growing layer has room for when it holds this many: it begins with a chunk and doubles."""
    from pipelines.engines.sizes import PREFILL_CHUNK, SPARE

    chunk = max(1, PREFILL_CHUNK // rows)
    held = min(chunk, tokens)
    room = held + SPARE
    while held < tokens:
        held = min(held + chunk, tokens)
        room = 2 * held if held > room else room
    return room


def _workspace(shape: ModelShape, size: int, tokens: int, rows: int, *, eager: bool) -> int:
    from pipelines.engines.sizes import PREFILL_CHUNK

    width = min(max(1, PREFILL_CHUNK // rows), tokens)
    read = rows * width
    passing = read * (4 * shape.hidden + 3 * shape.inner + 2 * shape.heads * shape.head) * size
    # Grouped heads are repeated for the kernel where a mask is needed; one layer at a time.
    repeated = 2 * rows * tokens * shape.heads * shape.head * size if shape.groups < shape.heads else 0
    scores = read * tokens * (shape.heads * (size + 4) if eager else 1)
    logits = (read if shape.all_logits else rows) * shape.vocabulary * (size + 8)  # and two copies to sample from
    return passing + repeated + scores + logits
