"""Devices, quantization and attention: what is chosen, why, and what this machine cannot do."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM

from pipelines import InputError
from pipelines.engines.base import Call, Completion
from pipelines.engines.device import choose_device
from pipelines.engines.local import LocalEngine
from pipelines.generation import GenerationOptions
from pipelines.models.source import ModelSource
from tests.doubles.tiny import PAIRS, tiny_chat_model, tiny_tokenizer


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


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"quantization": "4bit"}, "quantization_device"),
        ({"quantization": "5bit"}, "quantization_unknown"),
        ({"attention": "flash_attention_2"}, "attention_flash_device"),
        ({"attention": "flash"}, "attention_unknown"),
        ({"device": "cuda:7"}, "device_missing"),
        ({"device": "gpu"}, "device_unknown"),
        ({"device": "cpu:1"}, "device_unknown"),
    ],
)
def test_what_this_machine_cannot_do_is_one_sentence(options: dict[str, str], code: str) -> None:
    if torch.cuda.is_available():
        options = {"device": "cpu", **options}
    with pytest.raises(InputError) as caught:
        choose_device(**options)
    assert caught.value.code == code


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch says on a machine with two GPUs; nothing is computed on them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_devices_are_chosen_by_name() -> None:
    assert choose_device(dtype="bfloat16").device == "cuda"
    assert choose_device("cuda:1", "bfloat16").device == "cuda:1"
    assert choose_device("cuda:1", "bfloat16").kind == "cuda"
    with pytest.raises(InputError) as caught:
        choose_device("cuda:2")
    assert caught.value.parameters["present"][:2] == ["cuda:0", "cuda:1"]


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("options", "package"),
    [({"quantization": "4bit"}, "bitsandbytes"), ({"attention": "flash_attention_2"}, "flash-attn")],
)
def test_a_package_that_is_missing_comes_with_the_line_that_installs_it(options: dict[str, str], package: str) -> None:
    if find_spec(package.replace("-", "_")):
        pytest.skip(f"{package} is installed here")
    with pytest.raises(InputError) as caught:
        choose_device("cuda", "bfloat16", **options)
    assert f"-m pip install {package}" in str(caught.value)


@pytest.mark.usefixtures("two_gpus")
def test_flash_attention_computes_in_half_precision() -> None:
    with pytest.raises(InputError) as caught:
        choose_device("cuda", "float32", attention="flash_attention_2")
    assert caught.value.code == "attention_flash_dtype"


def test_a_family_without_fused_attention_says_why(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(["Hello there."], vocabulary=300)
    config = BloomConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        n_layer=2,
        n_head=4,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    BloomForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    engine = LocalEngine(source(tmp_path), device="cpu")
    assert engine.choice.attention == "eager"
    assert engine.choice.attention_reason.code == "attention_family"
    assert engine.provenance()["attention"] == "eager"
    with pytest.raises(InputError) as caught:
        LocalEngine(source(tmp_path), device="cpu", attention="sdpa")
    assert caught.value.code == "attention_unsupported"
    assert caught.value.parameters["known"][0] == "eager"


def test_the_doctor_shows_the_attention_with_its_reason() -> None:
    from apps.cli.doctor import examine

    found = {check.name: check for check in examine(offline=True)}
    assert found["attention"].state == "ok"
    assert found["attention"].value.startswith("sdpa: ")


def test_attention_can_be_asked_for(folder: Path) -> None:
    plain, eager = (
        LocalEngine(source(folder), device="cpu"),
        LocalEngine(source(folder), device="cpu", attention="eager"),
    )
    assert plain.provenance()["attention"] == "sdpa"
    assert eager.provenance()["attention"] == "eager"
    assert eager.model.config._attn_implementation == "eager"
    question, expected = PAIRS[0]
    assert answer(eager, question) == answer(plain, question) == expected
