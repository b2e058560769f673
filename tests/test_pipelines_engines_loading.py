"""Model folders of strangers: weights that are not there, chat templates that fail, and no noise on the terminal."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pipelines import CinquainError, InputError, Note
from pipelines.engines.base import Call
from pipelines.engines.device import DeviceChoice
from pipelines.engines.loading import load_model
from pipelines.engines.local import LocalEngine
from pipelines.engines.placement import Placement
from pipelines.generation import GenerationOptions
from pipelines.models.shape import shape_of
from pipelines.models.source import ModelSource
from tests.doubles.tiny import CHAT_TEMPLATE, tiny_llama, tiny_tokenizer
from tests.doubles.tiny_gguf import write_tiny_gguf

REFUSES_SYSTEM = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% endfor %}" + CHAT_TEMPLATE
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = tiny_tokenizer(["Hello there."], vocabulary=300)
    tiny_llama(len(tokenizer)).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def load(path: Path) -> LocalEngine:
    return LocalEngine(ModelSource("tiny", "gguf" if path.is_file() else "folder", path))


def with_template(folder: Path, template: str) -> Path:
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def test_a_layer_without_weights_is_refused_not_filled_with_noise(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "layers.1." not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError) as caught:
        load(folder)
    assert caught.value.code == "model_weights_missing"
    assert caught.value.parameters["count"] == 9
    assert "layers.1." in caught.value.parameters["names"]
    assert capfd.readouterr() == ("", "")  # the sentence says it; transformers' own table stays away


@pytest.mark.parametrize("template", ["{% for x in %}", "{{ ''.__class__.__mro__ }}", "{{ raise_exception('no') }}"])
def test_a_chat_template_that_fails_is_one_sentence(folder: Path, template: str) -> None:
    with pytest.raises(InputError) as caught:
        load(with_template(folder, template))
    assert caught.value.code == "model_chat_template"
    assert caught.value.parameters["reason"]


def test_where_a_template_knows_no_system_message_the_first_user_message_carries_it(folder: Path) -> None:
    engine = load(with_template(folder, REFUSES_SYSTEM))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."}]
    joined = [{"role": "user", "content": "Be brief.\n\nHello."}]
    assert engine.count_prompt(messages) == engine.count_prompt(joined)
    *_, completion = engine.stream(Call(messages, GenerationOptions(max_new_tokens=2, temperature=0.0), shared=1))
    assert completion.prompt_tokens == engine.count_prompt(joined)


def test_loading_a_gguf_draws_no_bars(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(write_tiny_gguf(tmp_path / "alone.gguf"))
    assert capfd.readouterr() == ("", "")


def test_a_quantized_model_that_cannot_run_here_says_why(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings["quantization_config"] = {"quant_method": "eetq", "weights": "int8"}  # needs a GPU of NVIDIA
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load(folder)
    assert caught.value.code == "quantized_cannot_run"
    assert caught.value.parameters["method"] == "eetq"
    assert caught.value.parameters["reason"]


def test_memory_that_runs_out_while_loading_is_no_fault_of_the_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*arguments: Any, **options: Any) -> Any:
        return torch.empty(2**50)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", too_much)
    with pytest.raises(CinquainError) as caught:
        load(folder)
    assert caught.value.code == "memory_exhausted_loading"
    assert caught.value.exit_code == 1


def test_weights_that_are_packed_are_not_packed_again(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "alone.gguf")
    source = ModelSource("tiny", "gguf", path)
    choice = DeviceChoice("cuda", "bfloat16", False, Note("dtype_cuda_bfloat16"), quantization="4bit")
    with pytest.raises(InputError) as caught:
        load_model(source, choice, Placement(("cuda:0",), shape=shape_of(source)))
    assert caught.value.code == "quantization_twice"
