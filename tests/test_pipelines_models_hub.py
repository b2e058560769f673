"""Models of the Hub: fetched whole, pinned at first use, and one sentence for each way in which that can fail."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import CinquainError, InputError
from pipelines.models import resolve
from pipelines.models.hub.cache import cache_folder
from pipelines.models.hub.pins import pins_of
from pipelines.models.store import list_models, pull, remove, show
from tests.doubles.fake_hub import NEEDED, Answer, FakeHub, Files, small_model, use_hub
from tests.doubles.tiny_gguf import write_tiny_gguf

ROOT = Path(__file__).resolve().parent.parent
RESOLVE = "import sys; from pipelines.models import resolve; print(resolve(sys.argv[1]).revision)"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub() as server:
        use_hub(server, tmp_path, monkeypatch)
        yield server


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


def refused(reference: str, code: str, kind: type[CinquainError] = InputError) -> str:
    """The sentence of the error with this code that resolving must raise."""
    with pytest.raises(CinquainError) as caught:
        resolve(reference, quiet=True)
    assert caught.value.code == code, caught.value
    assert type(caught.value) is kind
    return str(caught.value)


def without(files: Files, *names: str) -> Files:
    return {name: data for name, data in files.items() if name not in names}


def leftovers() -> list[str]:
    return [path.name for path in cache_folder().rglob("*.incomplete")]


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


# The network


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (Answer(500), "hub_server_error", "HTTP 500"),
        (Answer(503, b"<html>"), "hub_server_error", "HTTP 503"),
        (Answer(429, headers={"Retry-After": "77"}), "hub_rate_limited", "Wait 77 s"),
        (Answer(429, headers={"RateLimit": '"api";r=0;t=55'}), "hub_rate_limited", "Wait 55 s"),
        (Answer(429), "hub_rate_limited", "Wait 60 s"),
        (Answer(418), "hub_refused", "HTTP 418"),
        (Answer(404, b"<html>a proxy</html>"), "hub_refused", "HTTP 404"),
        (Answer(200, b"<html>a captive portal</html>"), "hub_unreachable", "could not be used"),
        (Answer.refusal(403, "", "Access to this resource is disabled."), "hub_disabled", "has disabled"),
    ],
)
def test_answers_that_are_none(answer: Answer, code: str, words: str, hub: FakeHub) -> None:
    hub.add("org/name", small_model())
    hub.faults.append(("/api/", answer, None))
    started = time.monotonic()
    assert words in refused("org/name", code, CinquainError)
    assert time.monotonic() - started < 3  # no retries in silence
    assert len(hub.requests) == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [(Answer(429, headers={"Retry-After": "300"}), "hub_rate_limited"), (Answer(503), "hub_server_error")],
)
def test_between_two_files_nobody_waits_in_silence(answer: Answer, code: str, hub: FakeHub) -> None:
    hub.add("org/name", small_model())
    hub.faults.append(("HEAD .*model.safetensors", answer, None))
    started = time.monotonic()
    refused("org/name", code, CinquainError)
    assert time.monotonic() - started < 10
    assert "tokenizer.json" in hub.downloads()


def test_no_network_is_said_at_once(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    sentence = refused("org/name", "hub_unreachable", CinquainError)
    assert "127.0.0.1:9" in sentence
    assert "smollm2-135m" in sentence
    assert time.monotonic() - started < 3


def test_a_server_that_never_answers(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.models.hub.errors.ANSWER_TIMEOUT_S", 0.2)
    hub.hold["/api/"] = 0
    hub.add("org/name", small_model())
    assert "no answer" in refused("org/name", "hub_unreachable", CinquainError)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "CINQUAIN_OFFLINE"])
def test_offline_nothing_is_asked(variable: str, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    assert variable in refused("org/name", "model_hub_offline", CinquainError)
    assert hub.requests == []


def test_a_cut_download_goes_on_where_it_stopped(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/name", small_model())
    hub.faults.append(("GET .*model.safetensors", Answer(500), None))
    refused("org/name", "hub_server_error", CinquainError)
    since = pins_of("org/name")["main"].since
    with monkeypatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        sentence = refused("org/name", "hub_incomplete_offline", CinquainError)
        assert "model.safetensors" in sentence
        assert "Unset HF_HUB_OFFLINE" in sentence
    hub.faults.clear()
    before = len(hub.downloads())
    hub.repositories["org/name"].commit(small_model(vocab_size=3))  # the branch moves meanwhile
    source = resolve("org/name", quiet=True)
    assert hub.downloads()[before:] == ["model.safetensors"]
    assert show("org/name").revision == source.revision
    assert show("org/name").pinned == since


def test_a_pin_without_any_file_is_no_half_of_a_model(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/name", small_model())
    resolve("org/name", quiet=True)
    shutil.rmtree(cache_folder())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused("org/name", "model_hub_offline", CinquainError)


def test_a_file_that_was_cut_on_the_disk_is_fetched_again(hub: FakeHub) -> None:
    hub.add("org/name", small_model())
    source = resolve("org/name", quiet=True)
    assert source.path is not None
    blob = (source.path / "model.safetensors").resolve()
    whole = blob.read_bytes()
    for spoil in (blob.unlink, lambda: blob.write_bytes(whole[:100])):
        spoil()
        assert resolve("org/name", quiet=True) == source
        assert blob.read_bytes() == whole
    assert hub.downloads().count("model.safetensors") == 3


# Other programs' downloads


def snapshot_by_hand(hub: FakeHub, name: str, *missing: str) -> Path:
    """What another program left in the cache."""
    repository = hub.repositories[name]
    commit = repository.branches["main"]
    folder = cache_folder() / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file, data in without(repository.commits[commit], *missing, "onnx/config.json", "pytorch_model.bin").items():
        (snapshot / file).write_bytes(data)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    return snapshot


def test_what_another_program_fetched_is_used(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = hub.add("org/name", small_model())
    snapshot = snapshot_by_hand(hub, "org/name")
    repository.commit(small_model(vocab_size=4))  # gigabytes of a newer commit are not fetched for that
    with monkeypatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        assert resolve("org/name").path == snapshot
    assert resolve("org/name", quiet=True).path == snapshot
    assert hub.downloads() == []
    assert pins_of("org/name")["main"].commit == snapshot.name


def test_a_commit_of_another_program_that_is_gone(hub: FakeHub) -> None:
    repository = hub.add("org/name", small_model())
    snapshot_by_hand(hub, "org/name")
    repository.commits.clear()
    new = repository.commit(small_model(vocab_size=4))
    assert resolve("org/name", quiet=True).revision == new


def test_without_an_answer_what_is_there_is_used(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add("org/name", small_model())
    snapshot = snapshot_by_hand(hub, "org/name")
    hub.faults.append(("/api/", Answer(502), None))
    assert resolve("org/name").path == snapshot
    assert "taken from the cache" in capsys.readouterr().err


def test_half_of_a_model_of_another_program(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/name", small_model())
    snapshot_by_hand(hub, "org/name", "model.safetensors")
    with monkeypatch.context() as patch:
        patch.setenv("CINQUAIN_OFFLINE", "1")
        assert "model.safetensors" in refused("org/name", "hub_incomplete_offline", CinquainError)
    resolve("org/name", quiet=True)
    assert hub.downloads() == ["model.safetensors"]


def test_removing_frees_the_cache_and_the_pin(hub: FakeHub) -> None:
    repository = hub.add("org/name", small_model())
    resolve("org/name", quiet=True)
    new = repository.commit(small_model(vocab_size=4))
    assert remove("org/name") > 4000
    assert not list(cache_folder().glob("models--*/snapshots/*"))
    with pytest.raises(InputError, match="nothing to remove"):
        remove("org/name")
    assert resolve("org/name", quiet=True).revision == new


def test_the_library_finds_what_was_fetched(hub: FakeHub) -> None:
    from huggingface_hub import snapshot_download

    hub.add("org/name", small_model())
    source = resolve("org/name", quiet=True)
    found = snapshot_download("org/name", cache_dir=cache_folder(), local_files_only=True)
    assert Path(found) == source.path


def test_a_hub_that_does_not_tell_sizes(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.tells_sizes = False
    hub.add("org/name", small_model())
    resolve("org/name", quiet=True)
    asked = len(hub.requests)
    assert resolve("org/name").kind == "folder"
    assert len(hub.requests) == asked


def test_a_password_of_a_mirror_is_not_shown(monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://user:secret@127.0.0.1:9")
    assert "secret" not in refused("org/name", "hub_unreachable", CinquainError)


def test_damaged_pins_are_not_replaced_in_silence(hub: FakeHub) -> None:
    hub.add("org/name", small_model())
    resolve("org/name", quiet=True)
    (path,) = Path(os.environ["CINQUAIN_HOME"]).glob("hub/*.json")
    path.write_text("{")
    assert str(path) in refused("org/name", "hub_pins_damaged", CinquainError)
    assert "org/name" in [model.name for model in list_models()]


# Disks and processes


def start(*arguments: str, code: str = RESOLVE) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def test_missing_space_is_said_before_the_weights_are_fetched(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/name", small_model())
    usage = shutil.disk_usage(".")
    monkeypatch.setattr("pipelines.home.shutil.disk_usage", lambda path: usage._replace(free=100))
    sentence = refused("org/name", "hub_disk_space", CinquainError)
    assert "4 kB" in sentence
    assert "HF_HOME" in sentence
    assert "model.safetensors" not in hub.downloads()


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_disk_that_becomes_full_leaves_nothing_behind(hub: FakeHub, gguf: bytes) -> None:
    hub.add("org/name", {"tiny.gguf": gguf})
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n{RESOLVE}"
    with start("org/name", code=code) as process:
        error = process.communicate()[1]
    assert "The disk became full while org/name was fetched" in error
    assert leftovers() == []
    assert resolve("org/name", quiet=True).kind == "gguf"


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_download_goes_on_at_the_same_commit(hub: FakeHub) -> None:
    repository = hub.add("org/name", small_model())
    hub.hold["model.safetensors"] = 1000
    with start("org/name") as process:
        assert hub.held.wait(60)
        os.kill(process.pid, signal.SIGKILL)
    commit = repository.branches["main"]
    repository.commit(small_model(vocab_size=8))
    hub.hold.clear()
    hub.release.set()
    assert leftovers() != []
    before = len(hub.downloads())
    assert resolve("org/name", quiet=True).revision == commit
    assert hub.downloads()[before:] == ["model.safetensors"]
    assert leftovers() == []


def test_of_two_processes_the_second_waits_and_fetches_nothing(hub: FakeHub, gguf: bytes) -> None:
    hub.add("org/name", {"tiny.gguf": gguf})
    hub.hold["tiny.gguf"] = 1000
    with start("org/name") as first:
        assert hub.held.wait(60)
        with start("org/name") as second:
            assert second.stderr is not None
            assert "Another process is fetching org/name" in second.stderr.readline()
            hub.release.set()
            assert second.wait() == 0
        assert first.wait() == 0
    assert hub.downloads() == ["tiny.gguf"]


def test_a_terminal_sees_the_bytes(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich takes any stream for a terminal then
    monkeypatch.setenv("COLUMNS", "120")
    hub.add("org/name", small_model())
    resolve("org/name")
    assert "4.1/4.1 kB" in capsys.readouterr().err
