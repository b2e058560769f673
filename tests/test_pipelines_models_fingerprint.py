"""Fingerprints of adapters: written whole, read back, refused in one sentence; hashes of weights, remembered."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import CinquainError, InputError, Prompt
from pipelines.models import fingerprint as module
from pipelines.models.embedded import SMOLLM2, folder_of
from pipelines.models.fingerprint import FILE_NAME, BaseReference, Fingerprint, read, weights_sha256, write
from pipelines.models.source import ModelSource

PROMPT = Prompt(task="translation", version=3, templates={"user": "Übersetze: {{ text }}"})
FINGERPRINT = Fingerprint(
    base=BaseReference(reference="tiny", sha256="a" * 64),
    task="translation",
    prompt=PROMPT,
    chat_template="{{ messages }}",
    prompt_sha256=PROMPT.digest("{{ messages }}"),
    data_sha256="b" * 64,
    versions={"peft": "0.21.2"},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    assert write(tmp_path, FINGERPRINT) == tmp_path / FILE_NAME
    assert read(tmp_path) == FINGERPRINT
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert json.loads((tmp_path / FILE_NAME).read_text())["schema_version"] == 1


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
def test_any_prompt_and_template_survive(tmp_path_factory: pytest.TempPathFactory, text: str, template: str, versions: dict[str, str]) -> None:  # fmt: skip # noqa: E501
    prompt = PROMPT.model_copy(update={"templates": {"user": text}})
    folder = tmp_path_factory.mktemp("any")
    changed = FINGERPRINT.model_copy(update={"prompt": prompt, "chat_template": template, "versions": versions})
    write(folder, changed)
    assert read(folder) == changed


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "the file"),
        (b"{}", "base: Field required"),
        (FINGERPRINT.model_dump_json().replace("a" * 64, "abc").encode(), "base.sha256"),
        (FINGERPRINT.model_dump_json().replace('"task"', '"tusk"', 1).encode(), "task: Field required"),
        (FINGERPRINT.model_dump_json()[:-20].encode(), "not JSON"),
    ],
)
def test_a_broken_one_is_one_sentence(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        read(tmp_path)
    assert caught.value.code == "fingerprint_broken"
    assert "\n" not in str(caught.value)


def test_a_huge_one_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / FILE_NAME).open("wb") as file:
        file.truncate(10**12)  # takes no space
    with pytest.raises(InputError, match="1000000000000 bytes"):
        read(tmp_path)


def test_a_format_of_tomorrow_says_so(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"schema_version": 2, "anything": "else"}')
    with pytest.raises(InputError, match="newer version"):
        read(tmp_path)


def model_folder(path: Path, **files: bytes) -> ModelSource:
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / name.replace("__", ".").replace("_", "-")).write_bytes(content)
    return ModelSource("mine", "folder", path)


def test_one_file_hashes_as_sha256sum_does(tmp_path: Path, empty_home: Path) -> None:
    source = model_folder(tmp_path / "m", model__safetensors=b"weights")
    assert weights_sha256(source) == hashlib.sha256(b"weights").hexdigest()
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    assert weights_sha256(ModelSource("g", "gguf", tmp_path / "m.gguf")) == hashlib.sha256(b"GGUF").hexdigest()


def test_shards_count_in_their_order(tmp_path: Path, empty_home: Path) -> None:
    names = ["model-00002.safetensors", "model-00001.safetensors"]
    source = model_folder(tmp_path / "m")
    for name in names:
        (tmp_path / "m" / name).write_bytes(name.encode())
    index = {"weight_map": {"a": names[0], "b": names[1], "c": names[0]}}
    (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights_sha256(source) == hashlib.sha256("".join(sorted(names)).encode()).hexdigest()


def test_known_hashes_are_not_computed(empty_home: Path) -> None:
    assert weights_sha256(ModelSource("x", "folder", Path("nowhere"), sha256="c" * 64)) == "c" * 64
    assert weights_sha256(ModelSource("x", "folder", folder_of(SMOLLM2))) == SMOLLM2.sha256


def test_a_hash_is_computed_once_and_again_when_the_file_changes(
    tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_files: list[Path] = []
    feed = module._feed
    monkeypatch.setattr(module, "_feed", lambda digest, path: (read_files.append(path), feed(digest, path)))
    source = model_folder(tmp_path / "m", model__safetensors=b"one")
    first = weights_sha256(source)
    assert weights_sha256(source) == first
    assert len(read_files) == 1
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(b"two")  # of the same size
    os.utime(weights, ns=(1, 1))
    assert weights_sha256(source) == hashlib.sha256(b"two").hexdigest()
    (memory,) = (empty_home / "hashes").iterdir()
    for broken in (b"", b"[]", b'{"files": null}', memory.read_bytes()[:30]):
        memory.write_bytes(broken)
        assert weights_sha256(source) == hashlib.sha256(b"two").hexdigest()
    assert len(read_files) == 6


def test_a_home_that_cannot_be_written_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    monkeypatch.setenv("CINQUAIN_HOME", str(tmp_path / "home"))
    source = model_folder(tmp_path / "m", model__safetensors=b"weights")
    assert weights_sha256(source) == hashlib.sha256(b"weights").hexdigest()


def test_two_processes_at_once_agree(tmp_path: Path, empty_home: Path) -> None:
    content = os.urandom(1 << 20) * 8
    model_folder(tmp_path / "m", model__safetensors=content)
    program = (
        "import sys; from pathlib import Path; from pipelines.models.fingerprint import weights_sha256; "
        "from pipelines.models.source import ModelSource; "
        "print(weights_sha256(ModelSource('m', 'folder', Path(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "m")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {process.communicate()[0].strip() for process in running}
    assert found == {hashlib.sha256(content).hexdigest()}
    assert len(list((empty_home / "hashes").iterdir())) == 1


def test_weights_that_are_not_there_are_one_sentence(tmp_path: Path, empty_home: Path) -> None:
    with pytest.raises(CinquainError) as caught:
        weights_sha256(model_folder(tmp_path / "m"))
    assert caught.value.code == "disk_failed"


def test_a_hub_model_is_found_in_its_cache(tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    source = ModelSource("org/name", "hub", hub_id="org/name")
    with pytest.raises(CinquainError) as caught:
        weights_sha256(source)
    assert caught.value.code == "fingerprint_no_weights"
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--org--name"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit / "model.safetensors").write_bytes(b"hub")
    assert weights_sha256(source) == hashlib.sha256(b"hub").hexdigest()
