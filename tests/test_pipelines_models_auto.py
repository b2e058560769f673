"""``auto`` takes the best model of the catalog that fits and can be had, and says why."""

import pytest

from apps.cli.main import main
from pipelines.errors import InputError
from pipelines.home import megabytes
from pipelines.models import resolve
from pipelines.models.auto import resolve_auto
from pipelines.models.catalog import (
    entries,
    memory_bytes,
)
from pipelines.models.hub.cache import cache_folder
from pipelines.models.progress import Progress
from pipelines.wording import sentence
from tests.doubles.catalog_calls import GPU, LARGE, SMALL, add_entry, hub_without_embedded
from tests.doubles.fake_hub import Answer, FakeHub, small_model

hub = hub_without_embedded


def test_auto_fetches_the_best_that_fits_and_says_why(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for alias in ("qwen3-8b", "qwen3-4b", "qwen2.5-0.5b"):
        add_entry(hub, alias, monkeypatch)
    source = resolve_auto("dialogue", (), Progress(), LARGE)
    assert (source.reference, source.hub_id) == ("qwen3-8b", "Qwen/Qwen3-8B")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("auto takes qwen3-8b (Apache-2.0): the best of the catalog that fits this machine")
    assert "16,400 MB are fetched" in lines[0]
    assert f"(cuda: needs {megabytes(memory_bytes(entries()['qwen3-8b'], GPU))}, 80,000 MB free)" in lines[0]
    assert source.chosen is not None
    assert sentence(source.chosen) == lines[0]
    assert "qwen2.5-0.5b" in str(resolve_auto("dialogue", (), Progress(quiet=True), SMALL).reference)


def test_auto_offline_takes_the_best_that_is_here(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    small = add_entry(hub, "qwen2.5-0.5b", monkeypatch)
    add_entry(hub, "qwen3-8b", monkeypatch)
    resolve(small.alias, quiet=True)
    asked = len(hub.requests)
    monkeypatch.setenv("CINQUAIN_OFFLINE", "1")
    source = resolve_auto("translation", (), Progress(quiet=True), LARGE)
    assert source.reference != small.alias  # it does not translate well enough to be listed for that
    source = resolve_auto("dialogue", (), Progress(quiet=True), LARGE)
    assert source.reference == small.alias
    assert source.chosen is not None
    assert source.chosen.code == "auto_cached"
    assert len(hub.requests) == asked


def test_auto_prefers_what_another_program_fetched_to_a_download(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = add_entry(hub, "qwen3-8b", monkeypatch)
    snapshot = cache_folder() / "models--Qwen--Qwen3-8B" / "snapshots" / str(entry.revision)
    snapshot.mkdir(parents=True)
    for name, data in small_model().items():
        if "/" not in name:
            (snapshot / name).write_bytes(data)
    assert resolve_auto("dialogue", (), Progress(quiet=True), LARGE).path == snapshot
    assert hub.requests == []


def test_auto_goes_on_after_a_refusal(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = add_entry(hub, "qwen3-8b", monkeypatch)
    hub.repositories[entry.hub_id].commits[str(entry.revision)].pop("model.safetensors")
    add_entry(hub, "qwen3-4b", monkeypatch)
    assert resolve_auto("dialogue", (), Progress(), LARGE).reference == "qwen3-4b"
    assert "only as pickle" in capsys.readouterr().err


def test_auto_without_an_answer_ends_at_the_embedded_model(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults.append(("", Answer(503), None))
    source = resolve_auto(None, (), Progress(), LARGE)
    assert source.reference == "smollm2-135m"
    lines = capsys.readouterr().err.splitlines()
    assert "HTTP 503" in lines[1]
    assert lines[-1].startswith("auto takes the embedded smollm2-135m")
    assert len(hub.requests) == 1  # it does not ask for each model again


def test_auto_is_a_reference(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("pipelines.models.auto.machine", lambda: SMALL)
    assert resolve("auto", quiet=True, task="translation").reference == "smollm2-135m"


def test_a_pipeline_tells_auto_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import pipeline

    asked: list[dict[str, object]] = []

    def note(reference: str, **words: object) -> None:
        asked.append({"reference": reference, **words})
        raise InputError("model_empty")

    monkeypatch.setattr("pipelines.models.resolve", note)
    with pytest.raises(InputError):
        pipeline("code_generation", model="auto")
    assert main(["run", "translation", "Hello", "--set", "target=zh-Hans", "-m", "auto"]) == 2
    assert main(["run", "code_generation", "Add.", "--set", "language=python", "-m", "auto"]) == 2
    assert [(each["task"], list(each["languages"])) for each in asked] == [  # type: ignore[call-overload]
        ("code_generation", []),
        ("translation", ["zh-Hans"]),
        ("code_generation", []),
    ]
