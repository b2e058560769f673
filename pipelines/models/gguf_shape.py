"""The shape of a GGUF model from its header: transformers needs seconds for the same numbers."""

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.models.shape import ModelShape

__all__ = ["gguf_shape"]

# Types of GGUF's values: uint8, int8, uint16, int16, uint32, int32, float32, bool, uint64, int64, float64.
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9


def gguf_shape(path: Path) -> ModelShape:
    """Count what a GGUF holds, once it is unpacked. The file has been checked by ``check_gguf``."""
    with path.open("rb") as file:
        _, _, tensors, entries = struct.unpack("<IIQQ", file.read(24))
        fields = {_text(file): _value(file) for _ in range(entries)}
        weights = dict(_tensor(file) for _ in range(tensors))
    family = fields.get("general.architecture", "")

    def field(name: str, otherwise: int = 0) -> int:
        value = fields.get(f"{family}.{name}", otherwise)
        return int(max(value) if isinstance(value, list) else value)  # some models differ by layer

    table = weights.get("token_embd.weight", (0, 0))
    head = math.prod(weights.get("output.weight", table))
    matrices = {name: shape for name, shape in weights.items() if len(shape) > 1 and "_embd." not in name}
    linear = [shape for name, shape in matrices.items() if name != "output.weight"]
    heads = field("attention.head_count", 1)
    size = field("attention.key_length") or field("embedding_length") // heads
    groups = field("attention.head_count_kv", heads)
    experts = field("expert_used_count")
    return ModelShape(
        parameters=sum(math.prod(shape) for shape in weights.values()),
        linear=sum(math.prod(shape) for shape in linear),
        linear_rows=sum(shape[-1] for shape in linear),  # a GGUF names the inner dimension first
        one_row=sum(math.prod(shape) for shape in linear) + head,
        largest=max((math.prod(shape) for shape in weights.values()), default=0),
        hidden=field("embedding_length"),
        inner=max(field("feed_forward_length"), experts * field("expert_feed_forward_length")),
        heads=heads,
        groups=groups,
        head=size,
        state=groups * (size + (field("attention.value_length") or size)),
        windows=(field("attention.sliding_window") or None,) * field("block_count"),
        vocabulary=table[-1],
        gguf=True,
        attention=("sdpa", "flash_attention_2"),  # known for sure once it is loaded
        approximate=("experts",) if experts else (),
    )


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    return file.read(length).decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int | None = None) -> Any:
    """One value; of a list of texts (a vocabulary) only that it is one."""
    if kind is None:
        (kind,) = struct.unpack("<I", file.read(4))
    if kind == _STRING:
        return _text(file)
    if kind != _ARRAY:
        form = _NUMBERS[kind]
        return struct.unpack(form, file.read(struct.calcsize(form)))[0]
    kind, count = struct.unpack("<IQ", file.read(12))
    if kind in _NUMBERS:
        width = struct.calcsize(_NUMBERS[kind])
        return list(struct.unpack(f"<{count}{_NUMBERS[kind][1]}", file.read(width * count)))
    for _ in range(count):
        _value(file, kind)
    return None


def _tensor(file: BinaryIO) -> tuple[str, tuple[int, ...]]:
    name = _text(file)
    (dimensions,) = struct.unpack("<I", file.read(4))
    shape = struct.unpack(f"<{dimensions}Q", file.read(8 * dimensions))
    file.read(12)  # type and offset
    return name, shape
