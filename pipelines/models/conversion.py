"""GGUF files: check one before it is loaded, and convert one to a folder that transformers loads in under a second."""

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.errors import InputError
from pipelines.home import megabytes
from pipelines.models.source import ModelSource

__all__ = ["check_gguf", "convert_gguf", "quiet_transformers", "save_model"]

_STRING, _ARRAY = 8, 9
# Bytes of GGUF's numbers: uint8, int8, uint16, int16, uint32, int32, float32, bool, uint64, int64, float64.
_NUMBER_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


class _CutError(Exception):
    """The header goes on beyond the end of the file, or makes no sense."""


def check_gguf(path: Path) -> None:
    """Check that a file is a whole GGUF: magic, version, and that every tensor of its table lies inside the file.

    Reads the header only (about 2 MB, 0.1 s). ``gguf.GGUFReader`` does not serve: on a file that was cut short it fails
    with an IndexError from numpy, or not before a tensor is read.

    Raises:
        InputError: ``model_not_gguf``, ``model_gguf_version`` or ``model_gguf_cut``.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(4)
        if magic != b"GGUF":
            raise InputError("model_not_gguf", path=str(path), found=magic)
        try:
            version = _number(file, "<I")
            if version not in (2, 3):  # 1 is obsolete; a big-endian file shows 0x03000000 here
                raise InputError("model_gguf_version", path=str(path), found=version)
            needed = _end_of_tensors(file, size)
        except _CutError:
            raise InputError("model_gguf_header", path=str(path), found=megabytes(size)) from None
    if size < needed:
        raise InputError("model_gguf_cut", path=str(path), needed=megabytes(needed), found=megabytes(size))


def _end_of_tensors(file: BinaryIO, size: int) -> int:
    """The number of bytes that a file with this header must have; ``file`` stands behind the version."""
    from gguf.constants import GGML_QUANT_SIZES  # type code → (elements in a block, bytes of a block)

    quantization = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
    tensors, entries = _number(file, "<Q"), _number(file, "<Q")
    alignment = 32
    for _ in range(entries):
        key = _bytes(file, size)
        kind = _number(file, "<I")
        if key == b"general.alignment" and kind == 4:
            alignment = _number(file, "<I") or alignment
        else:
            _skip(file, kind, size)
    end = 0
    for _ in range(tensors):
        _bytes(file, size)
        elements, dimensions = 1, _number(file, "<I")
        if dimensions > 8:  # ggml has 4 at most; without a bound a hostile file makes a number of a million digits
            raise _CutError
        for _ in range(dimensions):
            elements *= _number(file, "<Q")
        kind, offset = _number(file, "<I"), _number(file, "<Q")
        block, block_bytes = quantization.get(kind, (1, 0))  # a type newer than the library: transformers will name it
        end = max(end, offset + elements // block * block_bytes)
    return -(-file.tell() // alignment) * alignment + end


def _number(file: BinaryIO, form: str) -> int:
    width = struct.calcsize(form)
    data = file.read(width)
    if len(data) < width:
        raise _CutError
    return int(struct.unpack(form, data)[0])


def _bytes(file: BinaryIO, size: int) -> bytes:
    """A string with its length before it. A length beyond the file's own is a cut or hostile file: allocate nothing."""
    length = _number(file, "<Q")
    if length > size - file.tell():
        raise _CutError
    return file.read(length)


def _skip(file: BinaryIO, kind: int, size: int, depth: int = 0) -> None:
    """Go past one value."""
    if kind == _STRING:
        _bytes(file, size)
        return
    count = 1
    if kind == _ARRAY:
        kind, count = _number(file, "<I"), _number(file, "<Q")
        if kind in (_STRING, _ARRAY) and depth < 4:
            for _ in range(count):
                _skip(file, kind, size, depth + 1)
            return
    # A type without a known width hides where the next entry begins: the header is damaged.
    if kind not in _NUMBER_SIZES or _NUMBER_SIZES[kind] * count > size - file.tell():
        raise _CutError
    file.seek(_NUMBER_SIZES[kind] * count, 1)


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write a GGUF's weights as fp32 safetensors, with configuration, tokenizer and chat template, into ``folder``.

    fp32, because the values that unpacking 4-bit blocks gives (a scale times a small integer, plus a minimum) are exact
    there and not in bf16 or fp16: the logits stay identical to those of the GGUF. 20 s for SmolLM2-135M.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    with quiet_transformers():
        where = ModelSource(str(gguf), "gguf", gguf).arguments()
        unpacked = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**where)
        config = unpacked.config
        # What names the GGUF: a model that carries it refuses save_pretrained, and loading would look for the file.
        for name in ("quantization_config", "_model_name_or_path"):
            if hasattr(config, name):
                delattr(config, name)
        config._name_or_path = ""
        # The loaded object keeps a quantizer that refuses to save; a fresh one of the same class has none.
        model = type(unpacked)(config)
        model.load_state_dict(unpacked.state_dict())
        model.generation_config = GenerationConfig(
            bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
        )
        # A GGUF gives 1e30, and a caller that trusts it overruns the positions the model was trained on.
        tokenizer.model_max_length = config.max_position_embeddings
        for name in ("is_local", "local_files_only"):
            tokenizer.init_kwargs.pop(name, None)
        save_model(model, tokenizer, folder)


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save a model and its tokenizer.

    Raises:
        OSError: What the system said of the disk, unwrapped.
    """
    from safetensors import SafetensorError

    try:
        model.save_pretrained(folder)
    except SafetensorError as error:
        # It wraps what the system said: "I/O error: No space left on device (os error 28)".
        if found := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(found[1]), str(error), str(folder)) from error
        raise
    tokenizer.save_pretrained(folder)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars and warnings of transformers in between: the caller shows the step."""
    from functools import partial

    from transformers import modeling_gguf_pytorch_utils as unpacking
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    tqdm = unpacking.tqdm  # the one bar that does not ask transformers' own switch (5.23)
    unpacking.tqdm = partial(tqdm, disable=True)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        unpacking.tqdm = tqdm
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
