"""Models of the Hub where the network, a disk, a process or another program interferes: whole or one sentence."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.errors import CinquainError, InputError
from pipelines.models import resolve
from pipelines.models.hub.cache import cache_folder
from pipelines.models.hub.pins import pins_of
from pipelines.models.store import list_models, remove, show
from tests.doubles.fake_hub import Answer, FakeHub, small_model
from tests.doubles.hub_calls import leftovers, refused, running_hub, tiny_gguf, without

ROOT = Path(__file__).resolve().parent.parent
RESOLVE = "import sys; from pipelines.models import resolve; print(resolve(sys.argv[1]).revision)"

hub = running_hub
gguf = tiny_gguf


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
        assert hub.held.wait(300)
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
        assert hub.held.wait(300)
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
