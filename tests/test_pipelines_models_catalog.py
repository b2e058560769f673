"""The catalog: its facts hold together, its aliases are references, and ``auto`` takes what fits and says why."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from apps.cli.main import main
from pipelines.engines.device import DeviceChoice
from pipelines.engines.placement import plan
from pipelines.errors import CinquainError, InputError
from pipelines.generation import Note
from pipelines.home import megabytes
from pipelines.models import resolve
from pipelines.models.auto import resolve_auto
from pipelines.models.catalog import (
    ALL_TASKS,
    CPU_PARAMETERS,
    Entry,
    Machine,
    entries,
    find,
    fits,
    machine,
    memory_bytes,
    ranked,
)
from pipelines.models.embedded import EMBEDDED
from pipelines.models.hub.cache import cache_folder
from pipelines.models.memory import estimate, gigabytes
from pipelines.models.progress import Progress
from pipelines.models.reference import hub_reference
from pipelines.models.shape import shape_of
from pipelines.models.source import ModelSource
from pipelines.models.store import list_catalog, show
from pipelines.wording import sentence
from tests.doubles.fake_hub import Answer, FakeHub, small_model, use_hub

GPU = DeviceChoice("cuda", "bfloat16", False, Note("dtype_cuda_bfloat16"))
CPU = DeviceChoice("cpu", "float32", True, Note("dtype_cpu_one_row"))
LARGE = Machine(GPU, {"cuda:0": 80_000_000_000})
SMALL = Machine(CPU, {"cpu": 4_000_000_000})

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
def test_sizes_and_parameters_agree(entry: Entry) -> None:
    """What the layers of the config add up to, norms and biases and tables of positions apart."""
    shape = entry.shape
    attention = shape.hidden * shape.head * 2 * (shape.heads + shape.groups)
    block = shape.hidden * shape.inner
    if not entry.encoder_decoder:
        # The experts of gpt-oss are 32, of which a token passes 4.
        layers = len(shape.windows) * (attention + 3 * block * (8 if entry.alias == "gpt-oss-20b" else 1))
    else:
        decoder = len(shape.windows) // 2
        encoder = 12 if decoder == 6 else decoder  # the distilled one lost half of its decoder
        block *= 3 if entry.alias == "madlad400-3b" else 2
        layers = encoder * (attention + block) + decoder * (2 * attention + block)
        layers += shape.hidden * (entry.context_length or 0)
        if entry.alias == "led-large-arxiv":
            layers += encoder * 3 * shape.hidden**2  # global attention has projections of its own
    assert shape.linear == pytest.approx(layers, rel=0.02)


MEASURED = {
    "qwen2.5-0.5b": transformers.Qwen2Config(
        hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2,
        vocab_size=151936, tie_word_embeddings=True,
    ),
    "qwen3-0.6b": transformers.Qwen3Config(
        hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8,
        head_dim=128, vocab_size=151936, tie_word_embeddings=True,
    ),
    "olmo2-1b": transformers.Olmo2Config(
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=16, num_key_value_heads=16,
        vocab_size=100352, tie_word_embeddings=False,
    ),
    "m2m100-418m": transformers.M2M100Config(vocab_size=128112),
    "bart-large-cnn": transformers.BartConfig(vocab_size=50264),
}  # fmt: skip
"""The configs of some entries as transformers makes them."""


@pytest.mark.parametrize("alias", MEASURED)
@pytest.mark.parametrize("choice", [GPU, CPU], ids=["cuda", "cpu"])
def test_the_catalog_estimates_memory_as_loading_does(alias: str, choice: DeviceChoice, tmp_path: Path) -> None:
    MEASURED[alias].save_pretrained(tmp_path)
    entry = entries()[alias]
    if entry.encoder_decoder:
        choice = replace(choice, one_row=False)
    when_loading = estimate(shape_of(ModelSource(alias, "folder", tmp_path)), choice).held(choice.kind)
    assert memory_bytes(entry, choice) == pytest.approx(when_loading, rel=0.02)


@given(st.sampled_from(sorted(entries())), st.integers(10**8, 4 * 10**10), st.booleans())
def test_what_fits_is_what_loading_would_not_refuse(alias: str, free: int, gpu: bool) -> None:
    entry = entries()[alias]
    here = Machine(GPU, {"cuda:0": free}) if gpu else Machine(CPU, {"cpu": free})
    refused = None
    try:
        plan(entry.shape, replace(here.choice, one_row=not gpu and not entry.encoder_decoder), here.free, "x")
    except InputError as error:
        refused = error.parameters["needed"]
    assert refused in (None, gigabytes(memory_bytes(entry, here.choice)))
    assert fits(entry, here) == (refused is None and (gpu or entry.active_parameters <= CPU_PARAMETERS))


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
    needed = memory_bytes(entry, GPU)
    assert needed > entry.size_bytes
    assert fits(entry, LARGE)
    assert fits(entry, Machine(GPU, {"cuda:0": needed}))
    assert not fits(entry, Machine(GPU, {"cuda:0": needed - 1}))
    assert fits(entry, Machine(GPU, {"cuda:0": needed // 2 + 10**9, "cuda:1": needed // 2 + 10**9}))
    assert not fits(entry, Machine(CPU, {"cpu": 10**12}))  # it has room there, and answers a word in a second
    assert fits(entries()["qwen2.5-0.5b"], SMALL)


def test_this_machine_has_memory() -> None:
    here = machine()
    assert here.choice.kind in {"cpu", "cuda", "mps"}
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


UNPINNED = [alias for alias, entry in entries().items() if entry.revision is None] + ["opus-mt-en-fr"]


@pytest.mark.parametrize("alias", UNPINNED)
def test_an_unpinned_entry_is_pinned_at_first_use(hub: FakeHub, alias: str) -> None:
    entry = find(alias)
    assert entry is not None
    repository = hub.add(entry.hub_id, small_model("t5"))
    commit = repository.branches["main"]
    assert show(alias).revision is None
    resolve(alias, quiet=True)
    repository.commit(small_model("t5", vocab_size=7))
    model = show(alias)
    assert model.revision == commit == resolve(alias, quiet=True).revision
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", model.pinned or "")


def test_a_catalog_pin_has_nothing_to_update(hub: FakeHub) -> None:
    from pipelines.models.store import pull

    with pytest.raises(CinquainError, match="Qwen/Qwen3-8B@main"):
        pull("qwen3-8b", update=True)
