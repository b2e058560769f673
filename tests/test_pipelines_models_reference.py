"""References, GGUF files, model folders, adapters: what is found, and what is refused with which sentence."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from pipelines.errors import CinquainError, InputError
from pipelines.models import resolve, resolve_adapter
from pipelines.models.conversion import check_gguf
from pipelines.models.embedded import EMBEDDED
from pipelines.models.reference import hub_reference
from tests.doubles.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The least that is a model folder."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "llama"}')
    (path / "tokenizer.json").write_text("{}")
    save_file({"a": numpy.zeros(100, dtype=numpy.float32)}, path / "model.safetensors")
    return path


def error_of(call: Callable[[], object], code: str) -> str:
    """The sentence of the error with this code that ``call`` must raise."""
    with pytest.raises(CinquainError) as caught:
        call()
    assert caught.value.code == code, caught.value
    return str(caught.value)


def test_a_model_on_a_server_has_no_files_here() -> None:
    assert "no files here" in error_of(lambda: resolve("https://host/v1#model"), "model_remote")


@pytest.mark.parametrize(
    "reference", ["", "smollm2-135", "a/b/c", "./org/name", "x" * 5000, "a\x00b", "~nobody-here/x", "@"]
)
def test_an_unknown_reference_is_an_input_error(reference: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(reference)
    assert caught.value.code in {"model_unknown", "model_unreadable"}
    if reference == "smollm2-135":
        assert "Did you mean: smollm2-135m" in str(caught.value)


@given(st.text(max_size=40))
def test_no_text_breaks_resolve(text: str) -> None:
    if text.strip() not in EMBEDDED and not text.strip().startswith((".", "/", "~")):
        with pytest.raises(CinquainError):
            resolve(text, quiet=True)


def test_a_typing_error_in_a_path_names_the_folders_beside_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "models" / "my-model")
    monkeypatch.chdir(tmp_path)
    assert "models/my-model" in error_of(lambda: resolve("models/my-modle"), "model_unknown")
    assert resolve("models/my-model").arguments()["local_files_only"]


def test_a_hub_id_offline_must_be_in_the_cache(
    folder: Path, tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert "org/name" in error_of(lambda: resolve("org/name"), "model_hub_offline")
    commit = "0123456789012345678901234567890123456789"
    repository = tmp_path / "models--org--name"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    source = resolve("org/name")
    assert source.path == repository / "snapshots" / commit
    assert (source.hub_id, source.revision) == ("org/name", commit)
    assert resolve(f"org/name@{commit}").path == source.path
    assert "such as org/name" in error_of(lambda: resolve("org/nam"), "model_hub_offline")
    (repository / "snapshots" / commit / "tokenizer.json").unlink()
    assert "tokenizer.json" in error_of(lambda: resolve("org/name@main"), "hub_incomplete_offline")


@pytest.mark.parametrize(
    ("text", "hub_id", "revision", "file"),
    [
        ("org/name", "org/name", "main", None),
        ("org/name@v1.0", "org/name", "v1.0", None),
        ("org/name@refs/pr/1", "org/name", "refs/pr/1", None),
        ("org/name:sub/Some.Q4_K_M.gguf", "org/name", "main", "sub/Some.Q4_K_M.gguf"),
        ("org/name@dev:some.gguf", "org/name", "dev", "some.gguf"),
        ("opus-mt-en-fr@main", "Helsinki-NLP/opus-mt-en-fr", "main", None),
    ],
)
def test_the_parts_of_a_hub_reference(text: str, hub_id: str, revision: str, file: str | None) -> None:
    reference = hub_reference(text)
    assert reference is not None
    assert (reference.given, reference.hub_id, reference.revision, reference.file) == (text, hub_id, revision, file)


@pytest.mark.parametrize(
    "text", ["org", "org/name@", "org/name:weights.bin", "org/../x", "a--b/c", "./org/name", "org/name@a..b", "@main"]
)
def test_what_is_no_hub_reference(text: str) -> None:
    assert hub_reference(text) is None


def test_code_of_a_model_s_own_is_never_run(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Model"}}')
    assert "could do anything" in error_of(lambda: resolve(str(folder)), "model_remote_code")
    # transformers has this architecture itself and needs none of it.
    (folder / "config.json").write_text('{"model_type": "llama", "auto_map": {"AutoModelForCausalLM": "own.Model"}}')
    assert resolve(str(folder)).arguments()["trust_remote_code"] is False


# GGUF files


def test_a_whole_gguf_is_accepted(gguf: Path) -> None:
    source = resolve(str(gguf))
    assert (source.kind, source.path) == ("gguf", gguf)


@given(data=st.data())
def test_a_gguf_cut_anywhere_is_refused(
    gguf: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = gguf.read_bytes()
    path = tmp_path_factory.mktemp("cut") / "cut.gguf"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 64))])
    with pytest.raises(InputError) as caught:
        resolve(str(path))
    assert caught.value.code in {"model_gguf_cut", "model_gguf_header", "model_not_gguf"}


@given(position=st.integers(4, 6000), values=st.binary(min_size=1, max_size=16))
def test_a_hostile_gguf_header_costs_no_time_and_no_traceback(
    gguf: Path, tmp_path_factory: pytest.TempPathFactory, position: int, values: bytes
) -> None:
    whole = bytearray(gguf.read_bytes())
    whole[position : position + len(values)] = values
    path = tmp_path_factory.mktemp("hostile") / "hostile.gguf"
    path.write_bytes(whole)
    with suppress(InputError):  # many of these change a name or a number that the check does not care for
        check_gguf(path)


def test_the_sentence_for_a_cut_gguf_has_both_sizes(gguf: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(gguf.read_bytes()[:-5000])
    assert "asks for 23 kB, the file has 18 kB" in error_of(lambda: resolve(str(path)), "model_gguf_cut")


def test_a_gguf_beside_tokenizer_files_would_not_use_its_own(gguf: Path, folder: Path) -> None:
    path = shutil.copyfile(gguf, folder / "tiny.gguf")
    assert "tokenizer.json" in error_of(lambda: resolve(str(path)), "model_gguf_beside")


# Folders and adapters


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    assert resolve(str(folder)).path == folder
    (folder / name).unlink()
    assert f"missing: {name}" in error_of(lambda: resolve(str(folder)), "model_missing_files")


def test_every_shard_of_the_index_must_be_there(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    assert "missing: model-2.safetensors" in error_of(lambda: resolve(str(folder)), "model_missing_files")
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    assert resolve(str(folder)).kind == "folder"
    index.write_text(json.dumps({"weight_map": {"a": "../model-1.safetensors"}}))
    error_of(lambda: resolve(str(folder)), "model_bad_file")


def test_damaged_files_are_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors" in error_of(lambda: resolve(str(folder)), "model_bad_file")
    for text in ("{", "[]", "{}", "\xff"):
        (folder / "config.json").write_text(text, encoding="latin-1")
        assert "config.json" in error_of(lambda: resolve(str(folder)), "model_bad_file")


def test_pickles_are_refused_with_the_way_out(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "save_pretrained" in error_of(lambda: resolve(str(folder)), "model_pickle")
    for suffix in ("bin", "pt", "pth", "pkl", "ckpt"):
        path = tmp_path / f"weights.{suffix}"
        path.touch()
        error_of(lambda path=path: resolve(str(path)), "model_pickle")  # type: ignore[misc]


def test_one_file_of_a_model_is_not_the_model(folder: Path, gguf: Path, tmp_path: Path) -> None:
    assert str(folder) in error_of(lambda: resolve(str(folder / "model.safetensors")), "model_is_weights")
    error_of(lambda: resolve(str(folder / "config.json")), "model_not_gguf")
    assert "tiny.gguf" in error_of(lambda: resolve(str(gguf.parent)), "model_folder_gguf")


@pytest.fixture
def adapter(empty_home: Path) -> Path:
    path = empty_home / "adapters" / "poems"
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    save_file({"a": numpy.zeros(2, dtype=numpy.float32)}, path / "adapter_model.safetensors")
    return path


def test_an_adapter_is_found_by_folder_and_by_name(adapter: Path) -> None:
    assert resolve_adapter(adapter) == adapter
    assert resolve_adapter("poems") == adapter
    assert "Nearest here: poems" in error_of(lambda: resolve_adapter("peoms"), "adapter_unknown")


def test_adapters_and_models_are_told_apart(adapter: Path, folder: Path) -> None:
    assert "--adapter" in error_of(lambda: resolve(str(adapter)), "model_is_adapter")
    assert "--model" in error_of(lambda: resolve_adapter(folder), "adapter_is_model")


def test_a_broken_adapter_is_explained(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    error_of(lambda: resolve_adapter("poems"), "model_bad_file")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    error_of(lambda: resolve_adapter("poems"), "model_pickle")
    (adapter / "adapter_model.bin").unlink()
    assert "adapter_model.safetensors" in error_of(lambda: resolve_adapter("poems"), "adapter_missing_files")
    error_of(lambda: resolve_adapter(""), "adapter_unknown")
