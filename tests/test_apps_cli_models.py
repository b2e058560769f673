import json
from pathlib import Path

import pytest

from apps.cli.main import main
from pipelines.models.catalog import entries
from pipelines.models.embedded import EMBEDDED, SMOLLM2, Embedded
from pipelines.models.progress import Progress
from pipelines.models.store import ModelInfo, list_models
from tests.doubles.fake_hub import FakeHub, small_model, use_hub

GGUF = b"GGUF" + bytes(100)


@pytest.fixture(autouse=True)
def _no_hub_cache(empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model beside the embedded one, with a trivial conversion; returns the file to pull it from."""
    import hashlib

    def convert(gguf: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")

    sha256 = hashlib.sha256(GGUF).hexdigest()
    model = Embedded("tiny", "tiny==1", 10, "tiny/t.gguf", sha256, len(GGUF), 10, "MIT", ("en", "fr"), convert=convert)
    monkeypatch.setitem(EMBEDDED, "tiny", model)
    source = tmp_path / "t.gguf"
    source.write_bytes(GGUF)
    return source


def test_the_list_names_what_can_be_had(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "smollm2-135m" in output
    assert "cinquain models pull smollm2-135m" in output


def test_a_narrow_terminal_cuts_no_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert main(["models", "list"]) == 0
    output = capsys.readouterr().out
    assert "…" not in output
    assert "smollm2-135m" in output


def test_the_list_as_json(empty_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub = tmp_path / "hub" / "models--org--some-name" / "snapshots" / "0123"
    hub.mkdir(parents=True)
    (hub / "config.json").write_text("{}")
    assert main(["models", "list", "--json"]) == 0
    embedded, cached, *catalog = json.loads(capsys.readouterr().out)
    assert embedded["name"] == "smollm2-135m"
    assert embedded["path"] == str(empty_home / "models" / "smollm2-135m")
    assert embedded["cached"] is False
    assert embedded["sha256"] == SMOLLM2.sha256
    assert embedded["licence"] == "Apache-2.0"
    assert embedded["languages"] == ["en"]
    assert embedded["size_bytes"] > embedded["download_bytes"] == 92_871_040
    assert any("Translation is weak" in limit for limit in embedded["limits"])
    assert (cached["name"], cached["kind"], cached["size_bytes"]) == ("org/some-name", "hub", 2)
    assert {model["kind"] for model in catalog} == {"catalog"}
    assert {model["name"] for model in catalog} == set(entries())
    assert all(model["memory"]["float32"] > model["memory"]["bfloat16"] for model in catalog)


def test_the_list_of_one_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--task", "translation"]) == 0
    output = capsys.readouterr().out
    assert "madlad400-3b" in output
    assert "bart-large-cnn" not in output
    assert main(["models", "list", "--task", "tennis"]) == 2


def test_a_hub_model_is_pulled_shown_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeHub() as hub:
        use_hub(hub, tmp_path, monkeypatch)
        repository = hub.add("org/name", small_model())
        commit = repository.branches["main"]
        assert main(["models", "pull", "org/name", "--json"]) == 0
        captured = capsys.readouterr()
        assert "Fetching org/name from the Hub (4 kB)" in captured.err
        pulled = json.loads(captured.out)
        assert (pulled["revision"], pulled["cached"], pulled["hub_id"]) == (commit, True, "org/name")
        newer = repository.commit(small_model(vocab_size=3))
        assert main(["models", "pull", "org/name", "--quiet"]) == 0
        assert main(["models", "show", "org/name"]) == 0
        assert commit in capsys.readouterr().out
        assert main(["models", "pull", "org/name", "--update", "--quiet"]) == 0
        assert main(["models", "show", "org/name"]) == 0
        assert newer in capsys.readouterr().out
        assert main(["models", "list"]) == 0
        assert "org/name" in capsys.readouterr().out
        assert main(["models", "remove", "org/name"]) == 0
        captured = capsys.readouterr()
        assert "Deleting org/name from the Hugging Face cache" in captured.err
        assert "org/name was removed" in captured.out
        assert main(["models", "remove", "org/name"]) == 2
        assert main(["models", "pull", "org/nme"]) == 2
        assert "org/nme" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["run", "dialogue", "Hello", "-m", ""], ["chat", "--model", " "]])
def test_an_empty_model_name_is_not_the_default(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "--model is empty" in capsys.readouterr().err


def test_pull_show_remove(tiny: Path, empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = empty_home / "models" / "tiny"
    assert main(["models", "pull", "tiny", "--from", str(tiny), "--json"]) == 0
    captured = capsys.readouterr()
    pulled = json.loads(captured.out)
    assert (pulled["cached"], pulled["path"], pulled["languages"]) == (True, str(folder), ["en", "fr"])
    assert "Converting tiny" in captured.err  # progress goes beside the result, not into it
    assert main(["models", "pull", "tiny", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["models", "show", "tiny"]) == 0
    assert str(folder) in capsys.readouterr().out
    assert main(["models", "remove", "tiny"]) == 0
    assert "tiny was removed" in capsys.readouterr().out
    assert not folder.exists()
    assert main(["models", "remove", "tiny"]) == 2
    assert "nothing to remove" in capsys.readouterr().err


@pytest.mark.parametrize("total", [None, 1000])
def test_a_terminal_shows_a_moving_step(total: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTY_COMPATIBLE", "1")  # rich takes any stream for a terminal then
        with Progress().step("fetch_download", total, requirement="[bold]name==1") as show:
            show(400)
    captured = capsys.readouterr()
    assert "Fetching [bold]name==1" in captured.err
    assert ("1.0/1.0 kB" in captured.err) is (total is not None)
    assert captured.out == ""


def test_show_tells_the_limits_in_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "smollm2-135m"]) == 0
    assert "it invents facts" in capsys.readouterr().out
    assert main(["models", "show", "smollm2-135m", "--lang", "zh"]) == 0
    assert "翻译能力弱" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["pull", "smollm2-135"], 2, "Did you mean: smollm2-135m,"),
        (["show", "smollm2"], 2, "smollm2-135m"),
        (["show", "qwen3-06b"], 2, "Did you mean: qwen3-0.6b"),
        (["show", "org/name"], 2, "There is no model 'org/name' in the list"),
        (["pull", "org/name"], 1, "HF_HUB_OFFLINE forbids fetching it"),
        (["pull", "org/name", "--from", "some.gguf"], 2, "only for embedded models"),
        (["pull", "qwen3-0.6b", "--update"], 2, "Qwen/Qwen3-0.6B@main"),
        (["remove", "org/name"], 2, "nothing to remove"),
        (["pull", "smollm2-135m"], 1, "HF_HUB_OFFLINE forbids fetching it"),
        (["pull", "smollm2-135m", "--from", "nothing.whl"], 2, "There is no file nothing.whl"),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert len(captured.err.splitlines()) == 1


def test_a_list_is_shown_even_where_the_cache_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CINQUAIN_HOME", str(tmp_path / "file" / "home"))
    models: list[ModelInfo] = list_models()
    assert [model.cached for model in models] == [False]
