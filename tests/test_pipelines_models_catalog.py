"""The catalog: its facts hold together, its aliases are references, and what fits is what loading would take."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engines.device import DeviceChoice
from pipelines.engines.placement import plan
from pipelines.errors import CinquainError, InputError
from pipelines.models import resolve
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
from pipelines.models.memory import estimate, gigabytes
from pipelines.models.reference import hub_reference
from pipelines.models.shape import shape_of
from pipelines.models.source import ModelSource
from pipelines.models.store import list_catalog, show
from tests.doubles.catalog_calls import CPU, GPU, LARGE, SMALL, add_entry, hub_without_embedded
from tests.doubles.fake_hub import FakeHub, small_model

hub = hub_without_embedded

each_entry = pytest.mark.parametrize("entry", entries().values(), ids=list(entries()))


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
