"""The estimate before loading: exact where it can be, and within 15 % of what a process then grows by."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from pipelines.engines.cache import new_cache
from pipelines.engines.device import DeviceChoice
from pipelines.engines.one_row import use_one_row_copies
from pipelines.generation import Note
from pipelines.models.gguf_shape import gguf_shape
from pipelines.models.memory import estimate, gigabytes
from pipelines.models.shape import ModelShape, shape_of
from pipelines.models.source import ModelSource
from tests.doubles.tiny import tiny_llama, tiny_tokenizer
from tests.doubles.tiny_gguf import write_tiny_gguf

ROOT = Path(__file__).resolve().parent.parent
COMMON: dict[str, Any] = {"vocab_size": 400, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
SMALL = COMMON | {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = SMALL | {"num_key_value_heads": 2}
BART = {"vocab_size": 400, "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "decoder_start_token_id": 1}
BART |= {f"{side}_{part}": size for side in ("encoder", "decoder") for part, size in (("ffn_dim", 64),)}
COMPRESSED = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16}
CAUSAL = {
    "llama": transformers.LlamaConfig(**GROUPED, tie_word_embeddings=False),
    "llama_tied": transformers.LlamaConfig(**GROUPED, tie_word_embeddings=True),
    "gpt2": transformers.GPT2Config(**COMMON, n_embd=64, n_layer=2, n_head=4),
    "gpt_bigcode": transformers.GPTBigCodeConfig(**COMMON, n_embd=64, n_layer=2, n_head=4),
    "gpt_neox": transformers.GPTNeoXConfig(**SMALL),
    "bloom": transformers.BloomConfig(**COMMON, hidden_size=64, n_layer=2, n_head=4),
    "gemma2": transformers.Gemma2Config(**GROUPED, head_dim=32, sliding_window=100),
    "qwen3": transformers.Qwen3Config(**GROUPED, head_dim=32),
    "mixtral": transformers.MixtralConfig(**GROUPED),
    "falcon": transformers.FalconConfig(**COMMON, hidden_size=64, num_hidden_layers=2, num_attention_heads=4),
    "mamba": transformers.MambaConfig(**COMMON, hidden_size=64, num_hidden_layers=2),
    "deepseek": transformers.DeepseekV3Config(
        **SMALL, **COMPRESSED, moe_intermediate_size=32, n_routed_experts=8, n_group=2, topk_group=1,
        num_experts_per_tok=2, first_k_dense_replace=1,
    ),
}  # fmt: skip
SEQ2SEQ = {
    "t5": transformers.T5Config(vocab_size=400, d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4),
    "bart": transformers.BartConfig(**BART),
    "marian": transformers.MarianConfig(**BART, pad_token_id=0, eos_token_id=1),
}
PLAIN = DeviceChoice("cpu", "float32", False, Note("dtype_asked", {"dtype": "float32"}))


def source_of(config: Any, folder: Path) -> ModelSource:
    """A folder with a configuration and nothing else: whatever is counted, no weights are read."""
    config.save_pretrained(folder)
    return ModelSource("tiny", "folder", folder)


def bytes_of(model: torch.nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


@pytest.mark.parametrize("name", CAUSAL)
def test_weights_copies_and_cache_are_counted_exactly(name: str, tmp_path: Path) -> None:
    shape = shape_of(source_of(CAUSAL[name], tmp_path))
    model = AutoModelForCausalLM.from_config(CAUSAL[name]).eval()
    need = estimate(shape, replace(PLAIN, one_row=True), tokens=200)
    assert need.weights == bytes_of(model)
    assert need.buffers == sum(each.numel() * each.element_size() for each in model.buffers())
    cache = new_cache(model.config)
    with torch.inference_mode():
        model(input_ids=torch.ones((1, 200), dtype=torch.long), past_key_values=cache, use_cache=True)
    layers = [layer for layer in cache.layers if isinstance(getattr(layer, "keys", None), torch.Tensor)]
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
    counted = sum(min(200, window or 200) for window in shape.windows) * shape.state * 4
    assert held == pytest.approx(counted, rel=0.01)  # a window of transformers is one short of its name
    use_one_row_copies(model)
    copies = {id(copy): copy.nbytes for key, copy in model.named_buffers() if "one_row" in key}
    assert need.copies == sum(copies.values())


@pytest.mark.parametrize("name", SEQ2SEQ)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_encoder_decoders_are_counted_too(name: str, dtype: str, tmp_path: Path) -> None:
    AutoModelForSeq2SeqLM.from_config(SEQ2SEQ[name]).save_pretrained(tmp_path)
    shape = shape_of(ModelSource("tiny", "folder", tmp_path))
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=getattr(torch, dtype))
    assert estimate(shape, replace(PLAIN, dtype=dtype)).weights == bytes_of(loaded)  # T5 keeps some in float32
    assert len(shape.windows) == 2 * {"t5": 2, "bart": 3, "marian": 3}[name]


def test_a_model_says_why_its_estimate_is_rough_and_what_attention_it_has(tmp_path: Path) -> None:
    found = {name: shape_of(source_of(config, tmp_path / name)) for name, config in CAUSAL.items()}
    assert found["llama"].approximate == ()
    assert found["mamba"].approximate == ("recurrent_layers",)
    assert found["deepseek"].approximate == ("compressed_attention", "experts")
    assert "sdpa" in found["llama"].attention
    assert "sdpa" not in found["bloom"].attention
    need = {name: estimate(found[name], PLAIN, tokens=2000).workspace for name in ("bloom", "gpt2")}
    assert need["bloom"] > 2 * need["gpt2"]  # scores that are written out


def test_a_gguf_s_header_says_the_same_as_the_model_that_is_unpacked_from_it(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    shape = gguf_shape(path)
    source = ModelSource("tiny", "gguf", path)
    model = AutoModelForCausalLM.from_pretrained(**source.arguments(), dtype=torch.float32)
    source_of(model.config.__class__(**_plain(model.config)), tmp_path / "same")
    same = shape_of(ModelSource("same", "folder", tmp_path / "same"))
    for name in ("parameters", "linear", "linear_rows", "one_row", "largest", "hidden", "inner", "state", "windows"):
        assert getattr(shape, name) == getattr(same, name), name
    assert estimate(source, PLAIN).weights == bytes_of(model)
    assert estimate(source, PLAIN).loading > 0


def _plain(config: Any) -> dict[str, Any]:
    return {key: value for key, value in config.to_dict().items() if key != "quantization_config"}


def test_a_quantized_checkpoint_counts_as_large_as_its_files(tmp_path: Path) -> None:
    settings = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    config = transformers.LlamaConfig(**GROUPED, quantization_config=settings)
    source = source_of(config, tmp_path)
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(bytes(30_000))
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(bytes(12_000))
    need = estimate(source, PLAIN)
    assert need.weights == 42_000
    assert need.approximate == ("quantized_checkpoint",)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU may have the kernels")
def test_a_quantized_checkpoint_that_is_unpacked_counts_in_full(tmp_path: Path) -> None:
    settings = {"quant_method": "fp8", "weight_block_size": [32, 32]}
    source = source_of(transformers.LlamaConfig(**GROUPED, quantization_config=settings), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(bytes(30_000))
    plain = transformers.LlamaConfig(**GROUPED)
    assert estimate(source, PLAIN).weights == bytes_of(AutoModelForCausalLM.from_config(plain))


SHAPE = ModelShape(
    parameters=1_100_000_000, linear=970_000_000, linear_rows=1_000_000, one_row=1_030_000_000, largest=65_000_000,
    hidden=2048, inner=5632, heads=32, groups=4, head=64, state=512, windows=(None,) * 22, vocabulary=32_000,
)  # fmt: skip


def test_packed_weights_are_smaller_in_the_order_of_their_bits() -> None:
    gpu = DeviceChoice("cuda:0", "bfloat16", False, Note("dtype_cuda_bfloat16"))
    full = estimate(SHAPE, gpu)
    eight, four = (estimate(SHAPE, replace(gpu, quantization=each)) for each in ("8bit", "4bit"))
    assert full.weights == 2_200_000_000
    assert eight.weights == 2 * 130_000_000 + 970_000_000 + 4 * 1_000_000
    # TinyLlama 1.1B in NF4 with double quantization: 4.127 bits for each packed weight (QLoRA, section 3).
    assert four.weights == pytest.approx(2 * 130_000_000 + 970_000_000 * 4.127 / 8, rel=0.001)
    assert full.cache == eight.cache
    assert full.runtime > 0
    assert gigabytes(full.weights) == "2.2 GB"


@given(st.integers(1, 20_000), st.integers(1, 64), st.integers(1, 20_000), st.integers(1, 64))
def test_more_tokens_and_more_rows_never_need_less_cache(tokens: int, rows: int, more: int, others: int) -> None:
    small, large = estimate(SHAPE, PLAIN, tokens=tokens, rows=rows), estimate(SHAPE, PLAIN, tokens=more, rows=others)
    used = rows * tokens * 22 * 512 * 4
    assert used <= small.cache <= 2 * used + rows * 320 * 22 * 512 * 4
    if tokens <= more and rows == others:
        assert small.cache <= large.cache
    assert small.total >= small.device >= small.weights + small.cache


needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc")


def grown(model: Path, options: dict[str, Any], words: int = 250, new_tokens: int = 32) -> dict[str, Any]:
    """What a process grew by, beside the estimate for as many tokens."""
    arguments = [str(model), json.dumps(options), str(words), str(new_tokens)]
    program = [sys.executable, str(ROOT / "tests" / "doubles" / "growth.py"), *arguments]
    # Each thread has an arena of malloc, and what malloc keeps of freed blocks is no part of the model either.
    alone = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
    output = subprocess.run(program, capture_output=True, text=True, check=True, env=alone)
    found: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    choice = DeviceChoice(found["device"], found["dtype"], found["one_row"], PLAIN.reason)
    kind = "gguf" if model.is_file() else "folder"
    found["need"] = estimate(ModelSource("measured", kind, model), choice, tokens=found["tokens"])
    return found


@needs_proc
@pytest.mark.model
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, 300),
        ({"dtype": "float32"}, 300),
        pytest.param({}, 2000, marks=pytest.mark.slow),
        pytest.param({"dtype": "bfloat16"}, 1000, marks=pytest.mark.slow),
    ],
)
def test_the_embedded_model_grows_a_process_by_what_was_estimated(
    embedded_model: Path, options: dict[str, Any], words: int
) -> None:
    found = grown(embedded_model, options, words)
    assert found["tokens"] > words
    assert found["need"].total == pytest.approx(found["generating"], rel=0.15)


@needs_proc
@pytest.mark.slow
@pytest.mark.model
def test_a_gguf_takes_more_while_it_is_unpacked(embedded_model: Path, tmp_path: Path) -> None:
    files = list(embedded_model.glob("*.gguf"))
    if not files:
        pytest.skip("the packed file of the embedded model is not kept here")
    (tmp_path / "alone.gguf").symlink_to(files[0])
    found = grown(tmp_path / "alone.gguf", {"dtype": "float32"}, 100)
    assert found["loading"] > found["generating"]
    assert found["need"].total == pytest.approx(found["loading"], rel=0.15)


WIDE = {"vocab_size": 4000, "hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8}
FAMILIES = {
    "llama": transformers.LlamaConfig(
        **COMMON | WIDE, intermediate_size=1536, num_key_value_heads=2, tie_word_embeddings=False
    ),
    "gpt_neox": transformers.GPTNeoXConfig(**COMMON | WIDE, intermediate_size=2048),
    "gemma2": transformers.Gemma2Config(
        **COMMON | WIDE, intermediate_size=1536, num_key_value_heads=4, head_dim=64, sliding_window=256
    ),
}


@needs_proc
@pytest.mark.parametrize(
    ("name", "options"),
    [("llama", {}), ("llama", {"dtype": "bfloat16"}), ("gpt_neox", {"dtype": "float32"}), ("gemma2", {})],
)
def test_other_families_grow_a_process_by_what_was_estimated(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(FAMILIES[name]).save_pretrained(tmp_path)
    tiny_tokenizer(["word Hello"], vocabulary=300).save_pretrained(tmp_path)
    found = grown(tmp_path, options)
    assert found["need"].total > 40_000_000  # large enough to be told from noise
    assert found["need"].total == pytest.approx(found["generating"], rel=0.15)


@pytest.mark.model
def test_the_estimate_takes_no_time_that_a_person_would_notice(embedded_model: Path) -> None:
    import time

    source = ModelSource("smollm2-135m", "folder", embedded_model)
    estimate(source, PLAIN)  # the modules of transformers that loading needs as well
    start = time.process_time()
    estimate(source, PLAIN)
    assert time.process_time() - start < 0.3


def test_nothing_but_the_configuration_is_read(tmp_path: Path) -> None:
    tiny_llama(300).save_pretrained(tmp_path)
    source = ModelSource("tiny", "folder", tmp_path)
    whole = estimate(source, PLAIN)
    (tmp_path / "model.safetensors").unlink()
    assert estimate(source, PLAIN) == whole
