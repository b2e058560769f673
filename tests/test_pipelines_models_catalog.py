"""The catalog: its facts hold together, its aliases are references, and ``auto`` takes what fits and says why."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from apps.cli.main import main
from pipelines.errors import CinquainError, InputError
from pipelines.models import resolve
from pipelines.models.auto import resolve_auto
from pipelines.models.catalog import ALL_TASKS, Entry, Machine, entries, find, fits, machine, memory_bytes, ranked
from pipelines.models.embedded import EMBEDDED
from pipelines.models.hub.cache import cache_folder
from pipelines.models.progress import Progress
from pipelines.models.reference import hub_reference
from pipelines.models.store import list_catalog, show
from pipelines.wording import sentence
from tests.doubles.fake_hub import Answer, FakeHub, small_model, use_hub

LARGE = Machine("cuda", 80_000_000_000, 2)
SMALL = Machine("cpu", 4_000_000_000, 6)

each_entry = pytest.mark.parametrize("entry", entries().values(), ids=list(entries()))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub() as server:
        use_hub(server, tmp_path, monkeypatch)
        monkeypatch.setattr("pipelines.models.auto.ensure", lambda model, progress: tmp_path / "embedded")
        yield server


def add_entry(hub: FakeHub, alias: str, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """A model of the catalog on the fake Hub, whose commits have other names than the real ones."""
    entry = entries()[alias]
    commit = hub.add(entry.hub_id, small_model()).branches["main"]
    pinned = replace(entry, revision=commit)
    monkeypatch.setitem(entries(), alias, pinned)
    return pinned


# Facts


@each_entry
def test_an_entry_is_complete_and_permissive(entry: Entry) -> None:
    assert entry.licence in {"Apache-2.0", "MIT", "CC-BY-4.0"}
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.hub_id)
    assert entry.revision is None or re.fullmatch(r"[0-9a-f]{40}", entry.revision)
    assert entry.languages
    assert set(entry.tasks) <= set(ALL_TASKS)
    assert entry.context_length is None or entry.context_length >= 512


@each_entry
def test_bytes_and_parameters_agree(entry: Entry) -> None:
    # 2 bytes for bfloat16, 4 for float32; gpt-oss stores most of its weights in 4 bits.
    width = entry.size_bytes / entry.parameters
    assert width == pytest.approx(2, rel=0.05) or width == pytest.approx(4, rel=0.05) or entry.alias == "gpt-oss-20b"


@each_entry
def test_an_alias_is_a_reference(entry: Entry) -> None:
    reference = hub_reference(entry.alias)
    assert reference is not None
    assert (reference.hub_id, reference.given) == (entry.hub_id, entry.alias)
    assert reference.revision == entry.revision or (entry.revision is None and reference.revision == "main")
    assert find(entry.hub_id) == entry
    assert hub_reference(f"{entry.alias}@main") == replace(reference, given=f"{entry.alias}@main", revision="main")


def test_names_are_unique() -> None:
    assert not set(entries()) & {*EMBEDDED, "scripted", "auto"}
    assert len({entry.hub_id for entry in entries().values()}) == len(entries())


def test_every_pinned_commit_says_where_it_was_seen() -> None:
    text = (Path(__file__).parent.parent / "pipelines/models/catalog.yaml").read_text(encoding="utf-8")
    pins = [line for line in text.splitlines() if line.strip().startswith("revision: ")]
    assert len(pins) == sum(entry.revision is not None for entry in entries().values())
    assert all("  # " in line for line in pins)


@pytest.mark.parametrize(("source", "target"), [("en", "fr"), ("zh", "en"), ("en", "jap")])
def test_opus_pairs_are_a_pattern(source: str, target: str) -> None:
    alias = f"opus-mt-{source}-{target}"
    entry = find(alias)
    assert entry is not None
    assert (entry.hub_id, entry.languages, entry.tasks) == (f"Helsinki-NLP/{alias}", (source, target), ("translation",))
    assert find(f"Helsinki-NLP/{alias}") == entry


@pytest.mark.parametrize("name", ["opus-mt-en", "opus-mt-en-fr-../x", "opus", "", "qwen", "Qwen/Qwen3"])
def test_what_is_not_in_the_catalog(name: str) -> None:
    assert find(name) is None


# Ranking


@pytest.mark.parametrize("task", [*ALL_TASKS, None, "a task of somebody"])
def test_a_ranking_holds_only_models_for_the_task(task: str | None) -> None:
    order = ranked(task)
    assert order
    for entry in order:
        assert task in entry.tasks or entry.tasks == ALL_TASKS


def test_languages_count_where_they_are_known() -> None:
    assert all(entry.more or "zh" in entry.languages for entry in ranked("summarization", ["zh-Hans"]))
    assert "bart-large-cnn" not in [entry.alias for entry in ranked("summarization", ["zh-Hans"])]
    assert "bart-large-cnn" in [entry.alias for entry in ranked("summarization", ["en-GB"])]


def test_memory_and_speed_decide_what_fits() -> None:
    entry = entries()["qwen3-4b"]
    assert memory_bytes(entry, 2) > entry.size_bytes
    assert fits(entry, LARGE)
    assert not fits(entry, Machine("cuda", memory_bytes(entry, 2) - 1, 2))
    assert not fits(entry, Machine("cpu", 10**12, 6))  # it has room there, and answers a word in a second
    assert fits(entries()["qwen2.5-0.5b"], SMALL)


def test_this_machine_has_memory() -> None:
    here = machine()
    assert here.device in {"cpu", "cuda", "mps"}
    assert 0 < here.free_bytes < 10**14


# auto


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


# The list


def test_the_catalog_tells_what_is_here_and_what_fits(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = add_entry(hub, "qwen2.5-0.5b", monkeypatch)
    monkeypatch.setattr("pipelines.models.store.machine", lambda: SMALL)
    listed = {model.name: model for model in list_catalog()}
    assert set(listed) == set(entries())
    assert not listed[entry.alias].cached
    assert listed[entry.alias].fits
    assert not listed["qwen3-8b"].fits
    assert all(model.memory and model.download_bytes for model in listed.values())
    resolve(entry.alias, quiet=True)
    model = show(entry.alias)
    assert (model.cached, model.download_bytes, model.pinned, model.revision) == (True, 0, "catalog", entry.revision)
    assert show(entry.hub_id).cached
    assert {model.name for model in list_catalog("translation")} > {"m2m100-418m", "qwen3-8b"}
    assert "bart-large-cnn" not in {model.name for model in list_catalog("translation")}
    with pytest.raises(InputError, match="translation"):
        list_catalog("translate")


def test_an_unpinned_entry_is_pinned_at_first_use(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = entries()["madlad400-3b"]
    assert entry.revision is None
    commit = hub.add(entry.hub_id, small_model("t5")).branches["main"]
    assert show(entry.alias).revision is None
    resolve(entry.alias, quiet=True)
    model = show(entry.alias)
    assert model.revision == commit
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", model.pinned or "")


def test_a_catalog_pin_has_nothing_to_update(hub: FakeHub) -> None:
    from pipelines.models.store import pull

    with pytest.raises(CinquainError, match="Qwen/Qwen3-8B@main"):
        pull("qwen3-8b", update=True)
