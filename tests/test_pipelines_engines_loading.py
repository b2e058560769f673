"""Model folders of strangers: weights that are not there, chat templates that fail, and no noise on the terminal."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from pipelines import InputError
from pipelines.engines.base import Call
from pipelines.engines.local import LocalEngine
from pipelines.generation import GenerationOptions
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
