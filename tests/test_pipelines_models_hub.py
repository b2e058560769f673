"""Models of the Hub: fetched whole, pinned at first use, and one sentence for what is no model."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines.models import resolve
from pipelines.models.hub.pins import pins_of
from pipelines.models.store import pull, show
from tests.doubles.fake_hub import NEEDED, FakeHub, Files, small_model
from tests.doubles.hub_calls import refused, running_hub, tiny_gguf, without

hub = running_hub
gguf = tiny_gguf


# What is fetched, and what is pinned


def test_what_is_needed_is_fetched_and_nothing_else(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    commit = hub.add("org/name", small_model()).branches["main"]
    source = resolve("org/name")
    assert sorted(hub.downloads()) == NEEDED
    assert source.path is not None
    assert sorted(path.name for path in source.path.iterdir()) == NEEDED
    assert (source.kind, source.hub_id, source.revision) == ("folder", "org/name", commit)
    assert source.arguments()["local_files_only"]
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "Fetching org/name from the Hub (4 kB)",
        f"org/name is ready, pinned to the commit {commit[:12]}.",
    ]
    assert captured.out == ""


def test_the_second_use_asks_nobody(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/name", small_model())
    first = resolve("org/name", quiet=True)
    asked = len(hub.requests)
    assert resolve("org/name") == first
    assert len(hub.requests) == asked
    monkeypatch.setenv("CINQUAIN_OFFLINE", "1")
    assert resolve("org/name") == first


def test_a_branch_that_moves_is_followed_only_when_asked(hub: FakeHub) -> None:
    repository = hub.add("org/name", small_model())
    old = resolve("org/name", quiet=True).revision
    new = repository.commit(small_model(vocab_size=7))
    assert resolve("org/name", quiet=True).revision == old
    assert show("org/name").revision == old
    assert pull("org/name", update=True).revision == new
    assert resolve("org/name", quiet=True).revision == new


def test_branches_tags_commits_and_pull_requests(hub: FakeHub) -> None:
    repository = hub.add("org/name", small_model())
    main = repository.branches["main"]
    repository.tags["v1.0"] = main
    other = repository.commit(small_model(vocab_size=5), "other/branch")
    offered = repository.commit(small_model(vocab_size=6), "refs/pr/3")
    for revision, commit in {"v1.0": main, main: main, "other/branch": other, "refs/pr/3": offered}.items():
        assert resolve(f"org/name@{revision}", quiet=True).revision == commit
    assert sorted(pins_of("org/name")) == sorted(["v1.0", main, "other/branch", "refs/pr/3"])


def test_a_model_from_the_hub_answers(hub: FakeHub, tmp_path: Path) -> None:
    from pipelines.engines import Call, load_engine
    from pipelines.generation import GenerationOptions
    from tests.doubles.tiny import PAIRS, tiny_chat_model

    folder = tiny_chat_model(tmp_path / "tiny", PAIRS[:1])
    hub.add("org/tiny", {path.name: path.read_bytes() for path in folder.iterdir()})
    engine = load_engine("org/tiny")
    question, answer = PAIRS[0]
    call = Call([{"role": "user", "content": question}], GenerationOptions(temperature=0, max_new_tokens=40))
    assert engine.batch([call])[0].text == answer
    assert engine.provenance()["revision"] == hub.repositories["org/tiny"].branches["main"]


def test_shards_are_taken_from_the_index(hub: FakeHub) -> None:
    files = small_model()
    weights = files.pop("model.safetensors")
    index = json.dumps({"weight_map": {"a": "model-1.safetensors"}}).encode()
    shards = {
        "model.safetensors.index.json": index,
        "model-1.safetensors": weights,
        "consolidated.safetensors": weights,
    }
    hub.add("org/name", {**files, **shards})
    resolve("org/name", quiet=True)
    assert {"model-1.safetensors", "model.safetensors.index.json"} <= set(hub.downloads())
    assert "consolidated.safetensors" not in hub.downloads()


def test_a_gguf_is_taken_alone(hub: FakeHub, gguf: bytes) -> None:
    hub.add("org/one", {"tiny.Q4_0.gguf": gguf, "README.md": b""})
    source = resolve("org/one", quiet=True)
    assert (source.kind, source.path and source.path.name) == ("gguf", "tiny.Q4_0.gguf")
    hub.add("org/two", {"small.gguf": gguf, "large.gguf": gguf + bytes(3000), "README.md": b""})
    assert "org/two:small.gguf" in refused("org/two", "hub_gguf_choose")
    large = resolve("org/two:large.gguf", quiet=True)
    assert (large.kind, large.path and large.path.name) == ("gguf", "large.gguf")
    assert "small.gguf, large.gguf" in refused("org/two:medium.gguf", "hub_gguf_unknown")
    asked = len(hub.requests)
    assert resolve("org/one", quiet=True) == source
    assert len(hub.requests) == asked


def test_pickles_are_taken_in_the_converter_s_version(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.add("org/name", without(small_model(), "model.safetensors"))
    hub.offer_conversion("org/name", small_model(), number=1, author="somebody")
    assert "pytorch_model.bin" in refused("org/name", "hub_pickle")
    commit = hub.offer_conversion("org/name", small_model(vocab_size=2), number=7)
    assert resolve("org/name").revision == commit
    assert "refs/pr/7" in capsys.readouterr().err
    assert pins_of("org/name")["main"].branch == "refs/pr/7"
    main = hub.repositories["org/name"].branches["main"]
    refused(f"org/name@{main}", "hub_pickle")  # who names a commit gets that commit or nothing


# Refusals


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        (without(small_model(), "model.safetensors"), "hub_pickle", "pytorch_model.bin"),
        (without(small_model(), "model.safetensors", "pytorch_model.bin"), "hub_no_weights", "safetensors or GGUF"),
        (without(small_model(), "tokenizer.json"), "hub_no_tokenizer", "no tokenizer"),
        ({"model_index.json": b"{}", "unet/config.json": b"{}"}, "hub_diffusion", "makes images"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b""}, "hub_adapter", "--adapter"),
        ({"README.md": b"", "data.csv": b""}, "hub_no_config", "README.md, data.csv"),
        ({}, "hub_no_config", "no config.json"),
        ({**small_model(), "config.json": b"<html>"}, "hub_bad_config", "not JSON"),
        ({**small_model(), "config.json": b"{}"}, "model_bad_config", "model_type"),
        (small_model("own", auto_map={"AutoModel": "modeling_own.Own"}), "model_remote_code", "refused"),
        (small_model("from_the_future"), "model_architecture_unknown", "pip install -U transformers"),
        (small_model("vit"), "model_not_generative", "does not write text"),
        (
            without(small_model(), "model.safetensors")
            | {"model.safetensors.index.json": b'{"weight_map": {"a": "model-9.safetensors"}}'},
            "hub_missing_files",
            "model-9.safetensors",
        ),
    ],
)
def test_what_is_no_model_is_refused_before_its_weights_are_fetched(
    files: Files, code: str, words: str, hub: FakeHub
) -> None:
    hub.add("org/name", files)
    assert words in refused("org/name", code)
    assert not [name for name in hub.downloads() if not name.endswith((".json", ".jinja"))]
    assert pins_of("org/name") == {}


def test_an_own_code_that_is_not_needed_does_no_harm(hub: FakeHub) -> None:
    hub.add("org/name", small_model(auto_map={"AutoModel": "modeling_own.Own"}))
    assert resolve("org/name", quiet=True).kind == "folder"
    assert "modeling_own.py" not in hub.downloads()


def test_weights_that_are_damaged_on_the_hub(hub: FakeHub) -> None:
    hub.add("org/name", {**small_model(), "model.safetensors": b"not what it says"})
    refused("org/name", "model_bad_file")


def test_an_unknown_name_gets_the_nearest(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = refused("Qwen/Qwen3-0.6", "hub_unknown_no_token")
    assert "Qwen/Qwen3-0.6B" in sentence
    assert "hf auth login" in sentence
    assert "did you mean: Qwen/Qwen3-0.6B" not in refused("Qwen/Qwen3-0.6B", "hub_unknown_no_token")
    hub.tokens["good"] = "alice"
    monkeypatch.setenv("HF_TOKEN", "good")
    assert "Qwen/Qwen3-0.6B" in refused("Qwen/Qwen3-0.6", "hub_unknown")


@pytest.mark.parametrize(("kind", "word"), [("dataset", "data set"), ("space", "Space")])
def test_data_sets_and_spaces_are_no_models(kind: str, word: str, hub: FakeHub) -> None:
    hub.add("org/name", {}, kind=kind)
    assert f"is a {word} on the Hub" in refused("org/name", "hub_not_a_model")


def test_gated_and_private_models(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/gated", small_model(), gated=True, members={"alice"})
    hub.add("org/private", small_model(), private=True, members={"alice"})
    hub.tokens.update(a="alice", b="bob")
    sentence = refused("org/gated", "hub_gated_no_token")
    assert f"accept its licence on {hub.url}/org/gated" in sentence
    assert "hf auth login" in sentence
    refused("org/private", "hub_unknown_no_token")
    monkeypatch.setenv("HF_TOKEN", "b")
    assert "has no access yet" in refused("org/gated", "hub_gated_no_access")
    refused("org/private", "hub_unknown")
    monkeypatch.setenv("HF_TOKEN", "a")
    assert resolve("org/gated", quiet=True).kind == resolve("org/private", quiet=True).kind == "folder"
    monkeypatch.setenv("HF_TOKEN", "expired-secret")
    assert "expired-secret" not in refused("org/other", "hub_token_refused")


def test_an_unknown_revision_names_those_that_exist(hub: FakeHub) -> None:
    repository = hub.add("org/name", small_model())
    repository.tags["v1.0"] = repository.branches["main"]
    assert "It has: main, v1.0" in refused("org/name@v2", "hub_revision_unknown")
    refused(f"org/name@{'0' * 40}", "hub_revision_unknown")


def test_a_pinned_commit_that_is_gone(hub: FakeHub) -> None:
    repository = hub.add("org/name", small_model())
    source = resolve("org/name", quiet=True)
    assert source.path is not None
    shutil.rmtree(source.path)
    repository.commits.clear()
    new = repository.commit(small_model(vocab_size=9))
    assert "pull org/name --update" in refused("org/name", "hub_pin_gone")
    assert pull("org/name", update=True).revision == new
