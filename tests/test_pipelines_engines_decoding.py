"""The token loop against transformers' own ``generate`` on many architectures, token for token, and with adapters."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from pipelines import InputError
from pipelines.engines.adapters.layers import AdapterLayers
from pipelines.engines.cache import PrefixCache, holds_rows, new_cache
from pipelines.engines.decoding import decode
from pipelines.engines.loading import context_length
from pipelines.engines.local import LocalEngine
from pipelines.engines.sampling import Sampler
from pipelines.generation import GenerationOptions
from pipelines.models.fingerprint import file_sha256
from tests.doubles.tiny import PAIRS, tiny_chat_model, tiny_llama
from tests.test_pipelines_engines_local import call, completion, load

END = 1
SHARED = 40

LLAMA_LIKE = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048,
}  # fmt: skip
OLDER = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 2048}
WINDOW = {**LLAMA_LIKE, "sliding_window": 24}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Llama": LLAMA_LIKE,
    "Qwen3": {**LLAMA_LIKE, "head_dim": 8},
    "Phi3": LLAMA_LIKE,
    "GPT2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 2048},
    "GPTNeoX": {**OLDER, "intermediate_size": 48},
    "Mpt": {"d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 2048},  # ALiBi: knows no positions
    "Mistral": WINDOW,
    "Gemma2": {**WINDOW, "head_dim": 8},  # no sdpa; every second layer has a window
    "Gemma3Text": {**WINDOW, "head_dim": 8},
    "Qwen2": {**WINDOW, "use_sliding_window": True, "max_window_layers": 2},
    "Lfm2": {**LLAMA_LIKE, "block_ff_dim": 48, "layer_types": ["conv", "full_attention"] * 2},
    "Bamba": {**LLAMA_LIKE, **MAMBA, "attn_layer_indices": [1]},
}


def tiny_model(name: str, vocabulary: int = 120) -> Any:
    config = getattr(transformers, f"{name}Config")(
        **{
            "vocab_size": vocabulary, "eos_token_id": END, "pad_token_id": 0, "bos_token_id": None,
            "initializer_range": 0.3, **ARCHITECTURES[name],
        }
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).float().eval()


def prompts() -> list[list[int]]:
    """Rows with one beginning and own parts so different in length that whole chunks of some are padding."""
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randint(2, 120, (SHARED + 800,), generator=generator).tolist()
    return [numbers[:SHARED] + numbers[SHARED + start :][:length] for start, length in ((0, 3), (9, 700), (50, 60))]


def decoded(model: Any, rows: list[list[int]], limits: list[int], shared: int) -> list[list[int]]:
    sampler = Sampler.for_calls([GenerationOptions(temperature=0.0)] * len(rows), [END], model.device)
    return collected(decode(model, rows, shared, sampler, PrefixCache(1000)), limits)


def collected(steps: Any, limits: list[int]) -> list[list[int]]:
    """The tokens of a token loop, each row to its end or its limit."""
    replies: list[list[int]] = [[] for _ in limits]
    pairs = next(steps)
    while True:
        for row, token in pairs:
            if not (replies[row][-1:] == [END] or len(replies[row]) >= limits[row]):
                replies[row].append(token)
        ended = {row for row, reply in enumerate(replies) if reply[-1:] == [END] or len(reply) >= limits[row]}
        if len(ended) == len(limits):
            steps.close()
            return replies
        pairs = steps.send(ended)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.filterwarnings("ignore")  # libraries on what is not installed to run state space models faster
def test_greedy_tokens_are_those_of_generate(name: str) -> None:
    model, rows, limits = tiny_model(name), prompts(), [30, 8, 20]
    expected = [
        model.generate(torch.tensor([row]), max_new_tokens=limit, do_sample=False)[0, len(row) :].tolist()
        for row, limit in zip(rows, limits, strict=True)
    ]
    for shared in (0, SHARED):
        alone = [decoded(model, [row], [limit], shared)[0] for row, limit in zip(rows, limits, strict=True)]
        assert alone == expected
        if holds_rows(new_cache(model.config)):
            assert decoded(model, rows, limits, shared) == expected


def test_recurrent_states_take_one_row_at_a_time() -> None:
    held = {name: holds_rows(new_cache(tiny_model(name).config)) for name in ("Llama", "Gemma2", "Lfm2", "Bamba")}
    assert held == {"Llama": True, "Gemma2": True, "Lfm2": False, "Bamba": False}


def saved(model: Any, source: Path, folder: Path) -> Path:
    """A model with the tokenizer of a folder."""
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("name", ["Gemma2", "Lfm2"])
def test_an_engine_batches_what_it_streams(name: str, folder: Path, tmp_path: Path) -> None:
    engine = load(saved(tiny_model(name, 400), folder, tmp_path / "model"), dtype="float32")
    calls = [call(question, max_new_tokens=9) for question, _ in PAIRS]
    assert [each.text for each in engine.batch(calls)] == [completion(engine, one).text for one in calls]


def test_a_model_without_key_value_cache_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    config = transformers.MambaConfig(vocab_size=400, hidden_size=16, num_hidden_layers=1)
    with pytest.raises(InputError, match="keeps no key/value cache"):
        load(saved(transformers.MambaForCausalLM(config), folder, tmp_path / "mamba"))


def test_long_rope_factors_are_never_switched_within_a_cache(folder: Path) -> None:
    factors = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    config = transformers.Phi3Config(
        **{**LLAMA_LIKE, "vocab_size": 50, "pad_token_id": 0},
        original_max_position_embeddings=256,
        rope_parameters={**factors, "rope_theta": 10000.0, "original_max_position_embeddings": 256},
    )
    model = transformers.Phi3ForCausalLM(config)
    assert context_length(model, transformers.AutoTokenizer.from_pretrained(folder)) == 256


def adapted(folder: Path, **settings: Any) -> Any:
    """A tiny model with an adapter whose every new weight differs from the model's."""
    from peft import LoraConfig, get_peft_model

    base = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], **settings)).eval()
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize(
    "settings",
    [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"modules_to_save": ["embed_tokens"]}],
    ids=["lora", "dora", "own output layer", "own embedding"],
)
@pytest.mark.parametrize("one_row", [False, True], ids=["float32", "one-row"])
@pytest.mark.filterwarnings("ignore")  # PEFT on tied embeddings
def test_an_adapter_is_used_whole(
    settings: dict[str, Any], one_row: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.engines.device.has_bfloat16_instructions", lambda: False)
    model = adapted(folder, **settings)
    model.save_pretrained(tmp_path / "adapter")
    options = {} if one_row else {"dtype": "float32"}
    engine = LocalEngine(load(folder, dtype="float32").source, str(tmp_path / "adapter"), device="cpu", **options)
    assert engine.choice.one_row is one_row
    with torch.inference_mode(), engine.adapters.serving(["adapter"]):
        for ids in (torch.tensor([[7]]), torch.tensor([[7, 8, 9]])):
            expected = model(input_ids=ids).logits
            # bfloat16 keeps 8 bits of each weight; a layer that is left out changes logits by about their own size.
            tolerance = 0.1 * expected.std() if one_row and ids.numel() == 1 else 1e-4
            assert (engine.model(input_ids=ids).logits - expected).abs().max() <= tolerance
    assert completion(engine, call("Who are you?")).completion_tokens
    sha256 = file_sha256(tmp_path / "adapter" / "adapter_model.safetensors")
    assert engine.view(None).provenance()["adapter_sha256"] == sha256


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
def test_an_adapter_that_adds_tokens_to_prompts_is_refused(folder: Path, tmp_path: Path) -> None:
    from peft import PromptTuningConfig, get_peft_model

    base = transformers.AutoModelForCausalLM.from_pretrained(folder)
    settings = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    get_peft_model(base, settings).save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match="PROMPT_TUNING, which adds tokens"):
        AdapterLayers(tiny_llama(400)).add(tmp_path / "adapter")
