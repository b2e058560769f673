"""Layers of adapters in a model: exact by PEFT's own forward, mixed in a batch, gone without a trace."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from peft import IA3Config, PeftModel, PromptTuningConfig
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pipelines import load_prompt
from pipelines.engines.adapters.layers import AdapterLayers
from pipelines.engines.adapters.rows import Rows
from pipelines.engines.local import LocalEngine
from pipelines.engines.one_row import use_one_row_copies
from pipelines.models.embedded import SMOLLM2
from pipelines.models.fingerprint import BaseReference, Fingerprint, write
from tests.doubles.tiny import PAIRS, tiny_chat_model, tiny_llama
from tests.doubles.tiny_adapters import (
    QUESTIONS,
    answer,
    ask,
    by_peft,
    error_of,
    load,
    random_adapter,
    text,
    tiny_adapter,
    turned,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT on tied embeddings, transformers on its own next version

KINDS: dict[str, dict[str, Any]] = {
    "lora": {"r": 2, "use_rslora": True, "rank_pattern": {"down_proj": 5}},
    "dora": {"use_dora": True},
    "layer": {"modules_to_save": ["lm_head"]},
    "embedding": {"target_modules": ["embed_tokens", "v_proj"]},
    "whole": {"modules_to_save": ["embed_tokens"]},
    "tokens": {"trainable_token_indices": [9, 40, 70]},
    "ia3": {"config": IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])},
}


_SIZES: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_EXPERTS = {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 4}
# Config, settings of the adapter, whether its rows may mix with others, parameters of the base that it replaces.
ARCHITECTURES: dict[str, tuple[Any, dict[str, Any], bool, int]] = {
    "transposed weights": (
        transformers.GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2),
        {"target_modules": ["c_attn", "c_fc"]}, True, 0,
    ),
    "trained biases": (
        transformers.Qwen2Config(**_SIZES), {"target_modules": ["q_proj", "k_proj"], "bias": "lora_only"}, False, 4,
    ),
    "all tokens in one row": (
        transformers.Qwen2MoeConfig(**_SIZES, **_EXPERTS), {"target_modules": ["shared_expert.up_proj"]}, False, 0,
    ),
    "weights of experts": (
        transformers.MixtralConfig(**_SIZES, num_local_experts=4),
        {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"]}, False, 0,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def base(root: Path) -> Path:
    return tiny_chat_model(root / "tiny")


@pytest.fixture(scope="module")
def one(base: Path, root: Path) -> Path:
    return tiny_adapter(base, root / "one", turned(1))


@pytest.fixture(scope="module")
def two(base: Path, root: Path) -> Path:
    return tiny_adapter(base, root / "two", turned(2), r=4, target_modules=["q_proj", "v_proj", "down_proj"])


def logits(model: Any, rows: int = 1) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.arange(5, 5 + 4 * rows).view(rows, 4)).logits


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_exact_and_leaves_no_trace(kind: str, base: Path, tmp_path: Path) -> None:
    folder = random_adapter(base, tmp_path / kind, **KINDS[kind])
    engine = load(base)
    before, modules = logits(engine.model), str(engine.model)
    names = [name for name, _ in engine.model.named_parameters()]
    engine.adapters.load(folder)
    assert torch.equal(logits(engine.model), before)
    with engine.adapters.serving([kind]):
        assert torch.equal(logits(engine.model), _peft_logits(base, folder))
    for question in QUESTIONS[:2]:
        ids = engine.format.tokens(ask(question).messages)
        expected = engine.tokenizer.decode(by_peft(base, folder, ids), skip_special_tokens=True)
        assert text(engine, ask(question, kind)) == expected
        assert text(engine, ask(question)) == dict(PAIRS)[question]
    assert torch.equal(logits(engine.model), before)
    assert engine.adapters.get(kind).layers.mixable is (kind == "lora")
    engine.adapters.unload(kind)
    assert torch.equal(logits(engine.model), before)
    assert str(engine.model) == modules
    assert [name for name, _ in engine.model.named_parameters()] == names


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_other_architectures(kind: str, tmp_path: Path) -> None:
    config, settings, mixable, changed = ARCHITECTURES[kind]
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    folders = [random_adapter(tmp_path / "base", tmp_path / name, **settings) for name in ("a", "bb")]
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    layers, before = AdapterLayers(model), logits(model, 4)
    added = [layers.add(folder) for folder in folders]
    assert [(each.mixable, len(each.changes)) for each in added] == [(mixable, changed)] * 2
    alone = [_peft_logits(tmp_path / "base", folder, 4) for folder in folders]
    for each, expected in [*zip(added, alone, strict=True)] * 2:
        with layers.serving([each] * 4):
            assert torch.equal(logits(model, 4), expected)
        with layers.serving([None] * 4):
            assert torch.equal(logits(model, 4), before)
    if mixable:
        with layers.serving([None, added[0], added[0], added[1]]):
            mixed = logits(model, 4)
        expected = torch.stack([before[0], alone[0][1], alone[0][2], alone[1][3]])
        assert torch.allclose(mixed, expected, atol=1e-5)
    for each in added:
        layers.remove(each)
    assert torch.equal(logits(model, 4), before)


def _peft_logits(base: Path, adapter: Path, rows: int = 1) -> torch.Tensor:
    return logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter)).eval(), rows)


def test_one_row_copies_follow_the_adapter(base: Path, tmp_path: Path) -> None:
    folder = random_adapter(base, tmp_path / "layer", modules_to_save=["lm_head"])
    model: Any = AutoModelForCausalLM.from_pretrained(base).eval()
    use_one_row_copies(model)
    layers = AdapterLayers(model)
    ids = torch.tensor([[7]])
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        added = layers.add(folder)
        assert torch.equal(model(input_ids=ids).logits, before)
        with layers.serving([added]):
            under = model(input_ids=ids).logits
        layers.switch(None)
        assert torch.equal(model(input_ids=ids).logits, before)
        whole = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder)).eval()
        exact = whole(input_ids=ids).logits
    # bfloat16 keeps 8 bits of each weight; an output layer that was left out would change everything.
    assert (under - exact).abs().max() < 0.1 * exact.std() < (before - exact).abs().max()


def test_mixed_logits_are_those_of_each_alone(base: Path, one: Path, two: Path) -> None:
    shared = load(base, one, two)
    layers = shared.adapters._layers
    first, second = (shared.adapters.get(name).layers for name in ("one", "two"))
    order = [None, first, first, second]
    with layers.serving(order) as rows:
        mixed = logits(shared.model, 4)
        rows.keep([0, 2, 3])
        ids = torch.arange(5, 21).view(4, 4)[[0, 2, 3]]
        with torch.inference_mode():
            kept = shared.model(input_ids=ids).logits
    for place, each in enumerate(order):
        with layers.serving([each] * 4):
            assert torch.allclose(mixed[place], logits(shared.model, 4)[place], atol=1e-5)
    assert torch.allclose(kept, mixed[[0, 2, 3]], atol=1e-5)
    layers.switch(None)
    assert not any(module._forward_hooks for module in shared.model.modules())


@given(st.data())
def test_parts_are_the_rows_that_stay(data: st.DataObject) -> None:
    keys = data.draw(
        st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1).map(lambda each: sorted(each, key=str))
    )
    rows = Rows(keys)
    for _ in range(3):
        if not rows.keys:
            break
        kept = sorted(data.draw(st.sets(st.integers(0, len(rows.keys) - 1))))
        expected = [rows.keys[place] for place in kept]
        rows.keep(kept)
        assert rows.keys == expected
        spread: list[str | None] = [None] * len(kept)
        for key, start, end in rows.parts:
            end = len(kept) if end is None else end
            spread[start:end] = [key] * (end - start)
        assert spread == expected
        assert len({key for key, _, _ in rows.parts}) == len(rows.parts)


def test_unloading_frees_the_memory(base: Path, one: Path, tmp_path: Path) -> None:
    whole = random_adapter(base, tmp_path / "whole", modules_to_save=["lm_head"])
    engine = load(base)

    def held() -> int:
        gc.collect()
        tensors = [*engine.model.parameters(), *engine.model.buffers()]
        return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values())

    before = held()
    for order in (("one", "whole"), ("whole", "one")):
        engine.adapters.load(one)
        engine.adapters.load(whole)
        text(engine, ask(QUESTIONS[0], "whole"))
        dead = [weakref.ref(each) for name, each in engine.model.named_parameters() if "cinquain" in name]
        assert held() > before + sum((one / "adapter_model.safetensors").stat().st_size for _ in "1") // 2
        for name in order:
            engine.adapters.unload(name)
        assert held() == before
        assert not any(each() for each in dead)


def test_a_closed_engine_lets_go_of_its_model(base: Path, one: Path) -> None:
    engine = load(base, one)
    text(engine, ask(QUESTIONS[0], "one"))
    model = weakref.ref(engine.model)
    engine.close()
    gc.collect()
    assert model() is None


def test_failed_loads_leave_the_model_as_it_was(base: Path, one: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    tiny_llama(400, hidden_size=32).save_pretrained(wide)
    cases: dict[str, Path] = {
        "adapter_load_failed": random_adapter(wide, tmp_path / "shape"),
        "adapter_kind": random_adapter(
            base, tmp_path / "prompt", PromptTuningConfig("CAUSAL_LM", num_virtual_tokens=2)
        ),
        "adapter_weights_differ": random_adapter(base, tmp_path / "less"),
        "adapter_unsupported": random_adapter(base, tmp_path / "pissa"),
    }
    weights = load_file(tmp_path / "less" / "adapter_model.safetensors")
    weights.pop(next(iter(weights)))
    save_file(weights, tmp_path / "less" / "adapter_model.safetensors")
    config = json.loads((tmp_path / "pissa" / "adapter_config.json").read_text())
    (tmp_path / "pissa" / "adapter_config.json").write_text(json.dumps({**config, "init_lora_weights": "pissa"}))
    layers = random_adapter(base, tmp_path / "extra")
    weights = load_file(layers / "adapter_model.safetensors")
    more = {name.replace("layers.1", "layers.7"): each.clone() for name, each in weights.items()}
    save_file({**weights, **more}, layers / "adapter_model.safetensors")

    for beside in (False, True):
        engine = load(base, *([one] if beside else []))
        before, modules = logits(engine.model), str(engine.model)
        for code, folder in [*cases.items(), ("adapter_weights_differ", layers)]:
            expected = "adapter_load_failed_beside" if beside and code == "adapter_load_failed" else code
            error_of(expected, lambda folder=folder, engine=engine: engine.adapters.load(folder))
            assert torch.equal(logits(engine.model), before)
            assert str(engine.model) == modules
        if beside:
            ia3 = random_adapter(base, tmp_path / "ia3", **KINDS["ia3"])
            error_of("adapter_kinds_differ", lambda ia3=ia3, engine=engine: engine.adapters.load(ia3))
            assert text(engine, ask(QUESTIONS[0], "one")) == answer(QUESTIONS[0], 1)


@pytest.mark.model
def test_on_the_embedded_model(embedded_model: Path, tmp_path: Path) -> None:
    from pipelines.engines import load_engine

    folder = random_adapter(embedded_model, tmp_path / "noisy", init_lora_weights=False, r=4)
    engine = load_engine("smollm2-135m", dtype="float32", device="cpu")
    assert isinstance(engine, LocalEngine)
    call = ask("What is the capital of France?", max_new_tokens=8)
    before = text(engine, call)
    ids = engine.format.tokens(call.messages)
    template = engine.chat_template
    prompt = load_prompt("dialogue")
    base = BaseReference(reference="smollm2-135m", sha256=SMOLLM2.sha256)
    digest = prompt.digest(template)
    write(folder, Fingerprint(base=base, task="dialogue", prompt=prompt, chat_template=template, prompt_sha256=digest))
    engine.adapters.load(folder)
    expected = engine.tokenizer.decode(by_peft(embedded_model, folder, ids, tokens=8), skip_special_tokens=True)
    assert text(engine, replace(call, adapter="noisy")) == expected
    assert text(engine, call) == before != expected
    engine.adapters.unload("noisy")
    assert text(engine, call) == before
