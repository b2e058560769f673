"""Where a model goes, and when it is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from accelerate import dispatch_model
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig

from pipelines import CinquainError, InputError, Note
from pipelines.engines import placement
from pipelines.engines.base import Call, Completion
from pipelines.engines.device import DeviceChoice, choose_device
from pipelines.engines.local import LocalEngine
from pipelines.engines.placement import Placement, check_call, offload_notes, place, plan
from pipelines.generation import GenerationOptions
from pipelines.models.memory import estimate
from pipelines.models.shape import ModelShape
from pipelines.models.source import ModelSource
from tests.doubles.tiny import PAIRS, tiny_chat_model, tiny_llama

GB = 10**9
# Llama 3.1 8B as its config.json gives it.
SHAPE = ModelShape(
    parameters=8_030_261_248, linear=6_979_321_856, linear_rows=1_376_256, one_row=7_504_658_432, largest=525_336_576,
    hidden=4096, inner=14336, heads=32, groups=8, head=128, state=2048, windows=(None,) * 32, vocabulary=128_256,
)  # fmt: skip
REASON = Note("dtype_asked", {"dtype": "bfloat16"})
GPU = DeviceChoice("cuda", "bfloat16", False, REASON)
CPU = DeviceChoice("cpu", "float32", True, REASON)


def planned(choice: DeviceChoice, **free: float) -> Placement:
    """The plan for gigabytes of devices, written cuda_0=24.0."""
    return plan(SHAPE, choice, {name.replace("_", ":"): int(size * GB) for name, size in free.items()}, "llama")


def refused(choice: DeviceChoice, **free: float) -> InputError:
    with pytest.raises(InputError) as caught:
        planned(choice, **free)
    assert "llama" in str(caught.value)
    return caught.value


def test_one_gpu_that_holds_the_model_gets_all_of_it() -> None:
    assert planned(GPU, cuda_0=24).devices == ("cuda:0",)
    assert planned(GPU, cuda_0=4, cuda_1=24).devices == ("cuda:1",)
    assert planned(GPU, cuda_0=24).arguments() == {"device_map": {"": "cuda:0"}}
    assert planned(CPU, cpu=64).arguments() == {}


def test_a_model_too_big_for_one_gpu_is_spread_over_several() -> None:
    plan_of_two = planned(GPU, cuda_0=12, cuda_1=12, cpu=64)
    assert plan_of_two.devices == ("cuda:0", "cuda:1")
    assert plan_of_two.max_memory is not None
    assert all(size < 12 * GB for device, size in plan_of_two.max_memory.items() if device != "cpu")  # room to work
    assert plan_of_two.arguments()["device_map"] == "auto"
    assert planned(GPU, cuda_0=1, cuda_1=12, cuda_2=12, cpu=64).devices == ("cuda:1", "cuda:2")  # too small for a layer


def test_what_no_gpu_holds_waits_in_main_memory() -> None:
    assert planned(GPU, cuda_0=12, cpu=64).devices == ("cuda:0", "cpu")
    four = replace(GPU, quantization="4bit")
    assert planned(four, cuda_0=8, cpu=64).devices == ("cuda:0",)
    assert refused(four, cuda_0=4, cpu=64).code == "memory_refused_try"  # bitsandbytes computes on GPUs only


def test_a_gpu_that_was_named_is_the_only_one_used() -> None:
    assert planned(replace(GPU, device="cuda:1"), cuda_1=24).devices == ("cuda:1",)
    error = refused(replace(GPU, device="cuda:1"), cuda_1=12, cpu=6)
    assert error.parameters["fitting"].startswith("quantization=8bit")


def test_a_refusal_has_numbers_and_the_nearest_choice_that_fits() -> None:
    error = refused(CPU, cpu=20)
    assert error.exit_code == 2
    assert error.code == "memory_refused_try"
    assert error.parameters["needed"] == "47.6 GB"
    assert error.parameters["weights"] == "47.1 GB"
    assert error.parameters["free"] == "cpu 20.0 GB"
    assert error.parameters["fitting"] == "dtype=bfloat16 (16.3 GB)"
    assert "47.6 GB" in str(error)
    assert "dtype=bfloat16" in str(error)
    # The copies for single streams are what a slower choice can do without.
    assert refused(CPU, cpu=40).parameters["fitting"] == "dtype=float32 (32.6 GB)"
    error = refused(CPU, cpu=8)
    assert error.code == "memory_refused"
    assert error.parameters["parameters"] == "3.4"
    assert "device=cpu" in refused(GPU, cuda_0=1, cpu=17).parameters["fitting"]


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
    st.integers(0, 80),
    st.sampled_from(["float32", "bfloat16"]),
    st.sampled_from([None, "8bit", "4bit"]),
)
def test_a_plan_never_promises_more_than_is_free(gpus: list[int], main: int, dtype: str, packed: str | None) -> None:
    free = {f"cuda:{index}": size * GB for index, size in enumerate(gpus)} | {"cpu": main * GB}
    choice = replace(GPU, dtype=dtype, quantization=packed)
    need = estimate(SHAPE, choice)
    try:
        found = plan(SHAPE, choice, free, "llama")
    except InputError:
        assert all(size < need.device for device, size in free.items() if device != "cpu")
        return
    assert set(found.devices) <= set(free)
    held = need.weights if found.max_memory else need.device
    assert held <= sum(free[device] for device in found.devices)
    for device, size in (found.max_memory or {}).items():
        assert size <= free["cpu" if device == "cpu" else f"cuda:{device}"]
    assert not (packed and "cpu" in found.devices)


@given(st.integers(48 * GB, 200 * GB))
def test_whatever_fits_is_not_refused(free: int) -> None:
    need = estimate(SHAPE, CPU)
    found = plan(SHAPE, CPU, {"cpu": free}, "llama")
    assert found.batch_tokens is not None
    assert found.batch_tokens >= 512
    # A batch of that many tokens stays in the memory that is free.
    batch = estimate(SHAPE, CPU, tokens=512, rows=max(1, found.batch_tokens // 512))
    assert batch.cache - need.cache <= free - need.total + need.cache


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("models") / "tiny")


def source(path: Path) -> ModelSource:
    return ModelSource("tiny", "folder", path)


def answer(engine: LocalEngine, question: str) -> str:
    *_, completion = engine.stream(
        Call([{"role": "user", "content": question}], GenerationOptions(max_new_tokens=40, temperature=0.0))
    )
    assert isinstance(completion, Completion)
    return completion.text


def test_this_machine_s_memory_decides(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place(source(folder), choose_device("cpu")).devices == ("cpu",)
    monkeypatch.setattr(placement, "free_memory", lambda device: 100_000)
    with pytest.raises(InputError) as caught:
        LocalEngine(source(folder), device="cpu")
    assert caught.value.code == "memory_refused"
    assert caught.value.parameters["model"] == "tiny"


def test_little_memory_makes_batches_smaller(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need = place(source(folder), choose_device("cpu", "float32")).estimate
    assert need is not None
    monkeypatch.setattr(placement, "free_memory", lambda device: need.total + 100_000)
    engine = LocalEngine(source(folder), device="cpu", dtype="float32")
    assert engine._runner.token_budget < 8192
    calls = [Call([{"role": "user", "content": question}], GenerationOptions(temperature=0.0)) for question, _ in PAIRS]
    assert [completion.text for completion in engine.batch(calls)] == [text for _, text in PAIRS]


def test_a_configuration_that_cannot_be_counted_is_loaded_with_a_note(tmp_path: Path) -> None:
    LlamaConfig().save_pretrained(tmp_path)
    text = (
        (tmp_path / "config.json").read_text(encoding="utf-8").replace('"model_type": "llama"', '"model_type": "new"')
    )
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    found = place(source(tmp_path), choose_device("cpu"))
    assert found.devices == ("cpu",)
    assert [note.code for note in found.notes] == ["memory_unknown"]
    assert found.notes[0].parameters["reason"].startswith("ValueError")


@pytest.mark.parametrize("waiting", ["cpu", "disk"])
def test_a_dispatched_model_gives_the_same_text(waiting: str, folder: Path, tmp_path: Path) -> None:
    engine = LocalEngine(source(folder), device="cpu", dtype="float32")
    expected = [answer(engine, question) for question, _ in PAIRS]
    parts = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.layers.0": "cpu", "lm_head": "cpu"}
    layers = parts | {"model.layers.1": waiting, "model.norm": waiting}
    engine.model = dispatch_model(
        engine.model,
        layers,
        main_device="cpu",
        offload_dir=str(tmp_path),
        force_hooks=True,
        skip_keys="past_key_values",
    )
    engine._runner.prefixes.clear()
    held = {parameter.device.type for parameter in engine.model.model.layers[1].parameters()}
    assert held == {"cpu" if waiting == "cpu" else "meta"}
    assert [answer(engine, question) for question, _ in PAIRS] == expected
    calls = [Call([{"role": "user", "content": question}], GenerationOptions(temperature=0.0)) for question, _ in PAIRS]
    assert [completion.text for completion in engine.batch(calls)] == [text for _, text in PAIRS]
    codes = [note.code for note in offload_notes(engine.model)]
    assert codes == (["memory_offloaded"] if waiting == "disk" else [])


def test_the_loader_spreads_a_model_over_what_it_was_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = sum(parameter.nbytes for parameter in tiny_llama(400).parameters())
    tight = Placement(("cpu",), max_memory={"cpu": weights * 3 // 4}, shape=None)
    monkeypatch.setattr("pipelines.engines.in_process.place", lambda source, choice: tight)
    engine = LocalEngine(source(folder), device="cpu", dtype="float32")
    assert set(engine.model.hf_device_map.values()) == {"cpu", "disk"}
    assert [answer(engine, question) for question, _ in PAIRS] == [text for _, text in PAIRS]
    assert [note.code for note in engine.notes] == ["memory_offloaded"]


def test_a_model_over_several_devices_says_so() -> None:
    model = tiny_llama(50)
    assert offload_notes(model) == ()
    model.hf_device_map = {"model.embed_tokens": 0, "model.layers": 1}
    assert offload_notes(model) == (Note("memory_spread", {"devices": ["cuda:0", "cuda:1"]}),)
    model.hf_device_map = {"model.embed_tokens": 0, "model.layers.0": "cpu", "lm_head": 0}
    assert offload_notes(model) == (Note("memory_offloaded", {"count": 1, "total": 3}),)


def test_a_call_that_cannot_be_held_is_refused_before_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Placement(("cpu",), shape=SHAPE)
    monkeypatch.setattr(placement, "free_memory", lambda device: 4 * GB)
    check_call(held, CPU, prompt=4_000, limit=30_000)  # few replies become as long as they may
    with pytest.raises(CinquainError) as caught:
        check_call(held, CPU, prompt=30_000, limit=100)
    assert caught.value.code == "memory_call"
    assert caught.value.parameters["tokens"] == 30_100
    with pytest.raises(CinquainError):
        check_call(held, CPU, prompt=4_000, limit=100, rows=8)
    check_call(Placement(("cpu",)), CPU, prompt=10**6, limit=1)  # nothing is known of it
    free = iter([4 * GB, 40 * GB])
    monkeypatch.setattr(placement, "free_memory", lambda device: next(free))
    check_call(held, CPU, prompt=30_000, limit=100, give_up=lambda: None)  # what was kept made the difference
