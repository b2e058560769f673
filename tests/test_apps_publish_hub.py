"""A Space on the Hub double: sent whole and once, configured, awaited, asked, rolled back, deleted; every refusal."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.cli.main import main
from apps.publish import hub as hub_module
from apps.publish import publishing, verifying
from apps.publish.asking import Reply
from apps.publish.managing import delete, roll_back, status
from apps.publish.order import Order
from apps.publish.publishing import publish
from apps.publish.trial import Trial
from apps.web import launch
from apps.web.space import adapter_folder
from pipelines import pipeline
from pipelines.errors import CinquainError
from pipelines.models.progress import Progress
from tests.doubles.fake_hub import Answer, use_hub
from tests.doubles.ports import free_port
from tests.doubles.space_hub import Runtime, SpaceHub
from tests.doubles.tiny import tiny_chat_model
from tests.doubles.training_rows import finished_adapter

TRIAL = Trial("3.11.0", 1.0, (Reply("translate", "Bonjour.", 0.1),), 10**9)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SpaceHub]:
    """The double; what needs the package index or a new environment is left to tests of its own."""
    monkeypatch.setattr(verifying, "resolve", lambda folder, hardware: ["gradio==0"])
    monkeypatch.setattr(verifying, "environment", lambda staged: Path(sys.executable))
    monkeypatch.setattr(verifying, "try_space", lambda *given, **named: TRIAL)
    monkeypatch.setattr(hub_module, "_POLL_S", 0.0)
    monkeypatch.setattr(hub_module, "_PAUSES_S", (0.0, 0.0))
    with SpaceHub() as hub:
        use_hub(hub, tmp_path, monkeypatch)
        monkeypatch.setenv("HF_TOKEN", "hf_ada")
        yield hub


def order(**changes: Any) -> Order:
    return Order(**{"space": "translation", "to": "ada/demo", "model": "scripted", **changes})


def files(hub: SpaceHub, name: str = "ada/demo") -> dict[str, bytes]:
    repository = hub.repositories[name]
    return repository.commits[repository.branches["main"]]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(CinquainError) as caught:
        call()
    assert str(caught.value).rstrip()[-1] in ".)?"
    return caught.value.code


def test_a_space_is_made_private_filled_configured_and_asked(hub: SpaceHub, monkeypatch: pytest.MonkeyPatch) -> None:
    served = launch("scripted", port=free_port())
    hub.host = f"{served.address}/en"
    done = publish(order(secrets={"KEY": "value-of-key"}, variables={"WHERE": "here"}, hardware="cpu-upgrade"))
    served.close()
    found = files(hub)
    assert {"app.py", "README.md", "requirements.txt", "space.json", "LICENSE"} < set(found)
    assert not [name for name in found if name.startswith(("finetune", "tests")) or "__pycache__" in name]
    assert json.loads(found["space.json"])["model"] == "scripted"
    runtime = hub.runtimes["ada/demo"]
    assert (runtime.secrets, runtime.variables, runtime.hardware) == (
        {"KEY": "value-of-key"}, {"WHERE": "here"}, "cpu-upgrade"
    )  # fmt: skip
    assert hub.repositories["ada/demo"].private
    assert [reply.text for reply in done.replies] == ["[fr] Good morning, Ada."]
    assert not any(b"value-of-key" in data for data in found.values())


def test_publishing_again_sends_what_changed(hub: SpaceHub) -> None:
    first = publish(order())
    assert publish(order()).changed == 0
    hub.repositories["ada/demo"].commit(files(hub) | {"old.py": b"", "apps/old.py": b""})
    done = publish(order(language="zh"))
    assert done.changed == 3  # space.json, and the two that have no place there
    assert done.commit != first.commit
    assert "old.py" not in files(hub)


def test_weights_go_first_and_are_named_with_their_commit(hub: SpaceHub, tiny: Path) -> None:
    assert refused(lambda: publish(order(model=str(tiny)))) == "publish_private_weights"
    publish(order(model=str(tiny), private=False))
    commit = hub.repositories["ada/demo-model"].branches["main"]
    assert json.loads(files(hub)["space.json"])["model"] == f"ada/demo-model@{commit}"
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= set(files(hub, "ada/demo-model"))
    assert b"ada/demo-model" in files(hub)["README.md"]
    assert str(tiny).encode() not in b"".join(files(hub).values())


def on_hub(hub: SpaceHub, model: Path, name: str = "org/base") -> str:
    """Put a model on the double; returns its commit."""
    repository = hub.add(name, {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()})
    return repository.branches["main"]


@pytest.mark.filterwarnings("ignore")  # PEFT on tied embeddings
def test_an_adapter_of_a_hub_model_goes_beside_the_space(hub: SpaceHub, tiny: Path, tmp_path: Path) -> None:
    commit = on_hub(hub, tiny)
    adapter = finished_adapter(tmp_path / "adapter", "org/base")
    on_hub(hub, tiny)  # the branch moves on; the adapter fits what it was trained on
    publish(order(space="dialogue", model="org/base", adapter=str(adapter), private=False))
    settings = json.loads(files(hub)["space.json"])
    pushed = hub.repositories["ada/demo-adapter"].branches["main"]
    assert (settings["model"], settings["adapter"]) == (f"org/base@{commit}", f"ada/demo-adapter@{pushed}")
    assert {"README.md", "adapter_model.safetensors", "results.json"} <= set(files(hub, "ada/demo-adapter"))
    assert not any(str(tmp_path).encode() in data for data in files(hub, "ada/demo-adapter").values())
    question = [{"role": "user", "content": "Who are you?"}]
    here = pipeline("dialogue", "org/base", str(adapter), dtype="float32")(messages=question, temperature=0)
    fetched = adapter_folder(settings["adapter"])
    there = pipeline("dialogue", settings["model"], fetched, dtype="float32")(messages=question, temperature=0)
    assert there.text == here.text


def test_a_model_that_is_too_large_for_this_machine(
    hub: SpaceHub, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = on_hub(hub, tiny)
    tried: list[Any] = []
    monkeypatch.setattr(verifying, "try_space", lambda *given, **named: tried.append(named["model"]) or TRIAL)
    done = publish(order(model="org/base", scripted=True))
    assert tried == ["scripted"]
    assert json.loads(files(hub)["space.json"])["model"] == f"org/base@{commit}"
    assert "model.safetensors" not in hub.downloads()
    assert "publish_unseen_model" in [note.code for note in done.verified.notes]
    publish(order(model="org/base"))  # what was tried without its model is tried again with it
    assert tried == ["scripted", "org/base"]
    hub.add("org/pickled", {"config.json": b"{}", "pytorch_model.bin": b"", "tokenizer.json": b"{}"})
    assert refused(lambda: publish(order(model="org/pickled", scripted=True))) == "hub_pickle"
    assert refused(lambda: publish(order(model="org/absent", scripted=True))) == "hub_unknown"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refused(lambda: publish(order(model="org/base", scripted=True))) == "push_offline"
    assert refused(lambda: verifying.verify(order(model="org/base", scripted=True))) == "model_hub_offline"


def test_back_to_the_revision_before_and_again(hub: SpaceHub) -> None:
    for language in ("en", "zh", "en"):
        publish(order(language=language))
    publish(order(hardware="zero-a10g"))
    before = files(hub)
    roll_back("ada/demo", Progress(quiet=True))
    assert files(hub)["requirements.txt"] != before["requirements.txt"]
    roll_back("ada/demo", Progress(quiet=True))
    assert json.loads(files(hub)["space.json"])["language"] == "zh"
    roll_back("ada/demo", Progress(quiet=True))
    assert json.loads(files(hub)["space.json"])["language"] == "en"
    assert refused(lambda: roll_back("ada/demo", Progress(quiet=True))) == "publish_first"


def test_status_and_deletion(
    hub: SpaceHub, tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refused(lambda: status("ada/demo")) == "publish_unknown"
    publish(order(model=str(tiny), private=False))
    assert main(["publish", "translation", "--to", "ada/demo", "--status"]) == 0
    assert "RUNNING on cpu-basic, public" in capsys.readouterr().out
    ask = ["publish", "translation", "--to", "ada/demo", "--delete"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert main(ask) == 1
    assert set(hub.repositories) == {"ada/demo", "ada/demo-model"}
    assert main([*ask, "--yes"]) == 0
    assert hub.repositories == {}


def test_a_model_of_the_person_is_neither_overwritten_nor_deleted(hub: SpaceHub, tiny: Path) -> None:
    mine = {"config.json": b"mine"}
    hub.add("ada/demo-model", mine, members={"ada"})
    assert refused(lambda: publish(order(model=str(tiny), private=False))) == "publish_foreign_weights"
    assert "ada/demo" not in hub.repositories
    publish(order())
    assert status("ada/demo").repositories == ("spaces/ada/demo",)
    assert delete("ada/demo") == ("spaces/ada/demo",)
    assert files(hub, "ada/demo-model") == mine


def test_what_the_hub_would_refuse_is_known_before_the_trial(hub: SpaceHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "verify", lambda *given, **named: pytest.fail("minutes are spent"))
    hub.add("ada/demo", {"app.py": b"mine"}, kind="space", members={"ada"})
    assert refused(lambda: publish(order())) == "publish_foreign"
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    assert refused(lambda: publish(order(to="reader/demo"))) == "push_no_right"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refused(lambda: publish(order())) == "push_offline"


def test_a_space_of_somebody_is_left_alone(hub: SpaceHub) -> None:
    hub.add("ada/demo", {"app.py": b"mine", "README.md": b""}, kind="space", members={"ada"})
    hub.runtimes["ada/demo"] = Runtime("cpu-basic", ["RUNNING"])
    for call in (lambda: publish(order()), lambda: delete("ada/demo"), lambda: roll_back("ada/demo", Progress())):
        assert refused(call) == "publish_foreign"
    assert files(hub)["app.py"] == b"mine"


@pytest.mark.parametrize(
    ("pattern", "answer", "code"),
    [
        ("repos/create", Answer.refusal(403, "", "You don't have the rights"), "push_no_right"),
        ("repos/create", Answer.refusal(402, "", "Subscribe to PRO"), "publish_plan"),
        ("commit/main", Answer.refusal(403, "", "Private repository storage limit reached"), "publish_quota"),
        ("commit/main", Answer.refusal(412, "", "A commit has happened since"), "publish_meanwhile"),
        ("commit/main", Answer.refusal(409, "", "Conflict"), "publish_meanwhile"),
        ("POST .*/secrets", Answer.refusal(500, "", "Internal Error"), "push_refused"),
        ("whoami", Answer.refusal(401, "", "Invalid user token."), "push_not_logged_in"),
    ],
)
def test_refusals_are_one_sentence(hub: SpaceHub, pattern: str, answer: Answer, code: str) -> None:
    hub.faults.append((pattern, answer, None))
    assert refused(lambda: publish(order(secrets={"KEY": "value-of-key"}))) == code


def test_hardware_that_an_account_may_not_use_is_one_sentence(hub: SpaceHub) -> None:
    publish(order())
    hub.faults.append(("POST .*/hardware", Answer.refusal(403, "", "You may not use this hardware."), None))
    assert refused(lambda: publish(order(hardware="a100-large"))) == "publish_hardware"


def test_a_network_that_is_lost_in_the_middle_is_one_sentence_and_the_next_publish_goes_on(hub: SpaceHub) -> None:
    hub.faults.append(("commit/main", Answer(0, b""), None))
    assert refused(lambda: publish(order())) in ("push_lost", "push_refused")
    hub.faults.clear()
    assert publish(order()).commit == hub.repositories["ada/demo"].branches["main"]


def test_a_hub_that_fails_once_is_asked_again(hub: SpaceHub) -> None:
    for pattern in ("repos/create", "GET .*/tree", "GET .*/runtime"):
        hub.faults.append((pattern, Answer.refusal(502, "", "Bad gateway"), 1))
    assert publish(order()).commit == hub.repositories["ada/demo"].branches["main"]


def test_a_build_that_fails_tells_its_first_lines(hub: SpaceHub) -> None:
    hub.build = ["BUILDING", "BUILD_ERROR"]
    hub.log = ["--> RUN pip install", "ok", "ERROR: No matching distribution found for torch==9", "again"]
    with pytest.raises(CinquainError) as caught:
        publish(order())
    assert caught.value.code == "publish_build"
    assert caught.value.parameters["lines"].startswith("ERROR: No matching distribution")


def test_the_log_of_a_build_is_shown_as_it_grows(hub: SpaceHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.build = ["UNSEEN", "BUILDING", "BUILDING", "RUNNING"]
    hub.log = ["--> FROM python:3.12", "\x1b[31mCollecting gradio"]
    publish(order(progress=Progress()))
    told = capsys.readouterr().err
    assert told.count("| --> FROM python:3.12") == told.count("| [31mCollecting gradio") == 1
    assert "\x1b" not in told
    hub.faults.append(("GET .*/logs/", Answer.refusal(500, "", "no logs"), None))
    publish(order(language="zh", progress=Progress()))
    assert "RUNNING" in capsys.readouterr().err
    assert sum("logs/" in each for each in hub.requests) == 2  # of the first build alone; the next one's was refused


def test_a_space_that_stays_without_an_app_is_a_failure(hub: SpaceHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "_UNSEEN_S", 0.0)
    hub.build = ["UNSEEN"]
    assert refused(lambda: publish(order())) == "publish_build"


def test_two_at_once(hub: SpaceHub) -> None:
    with order().alone():
        assert refused(lambda: publish(order())) == "publish_busy"


PUBLISHER = """
import sys
from pathlib import Path
from apps.publish import hub, verifying
from apps.publish.asking import Reply
from apps.publish.order import Order
from apps.publish.publishing import publish
from apps.publish.trial import Trial
hub._POLL_S = 0.01
verifying.resolve = lambda *given: []
verifying.environment = lambda staged: Path(sys.executable)
verifying.try_space = lambda *given, **named: Trial("3", 1.0, (Reply("translate", "Bonjour.", 0.1),), None)
publish(Order("translation", "ada/demo", "scripted", secrets={"KEY": "value-of-key"}))
"""
PHASES = ["repos/create", "POST .*/secrets", "commit/main", "GET .*/runtime"]


@pytest.mark.parametrize("phase", PHASES)
def test_a_kill_in_any_phase_is_made_good(hub: SpaceHub, phase: str) -> None:
    hub.hold[phase.rpartition(".*/")[2].removeprefix("POST ")] = 0
    child = subprocess.Popen([sys.executable, "-c", PUBLISHER], stderr=subprocess.DEVNULL)
    assert hub.held.wait(60)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    hub.hold.clear()
    hub.release.set()
    done = publish(order(secrets={"KEY": "value-of-key"}))
    assert done.commit == hub.repositories["ada/demo"].branches["main"]
    assert hub.runtimes["ada/demo"].secrets == {"KEY": "value-of-key"}
    assert set(files(hub)) == set(done.verified.staged.files)
