"""``cinquain doctor``: what is there, what is missing, and the line that fixes it."""

import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from apps.cli import doctor, network
from apps.cli.doctor import Check, examine
from apps.cli.main import main
from apps.cli.network import index_address, reachable
from pipelines.models.hub.errors import shown as mask


@pytest.fixture(autouse=True)
def a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CINQUAIN_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def checks(**options: Any) -> dict[str, Check]:
    return {check.name: check for check in examine(offline=True, **options)}


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    main(["doctor", "--json", "--offline"])
    return dict(json.loads(capsys.readouterr().out))


def test_json_names_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    data = report(capsys)
    assert data["schema_version"] == 1
    names = [check["name"] for check in data["checks"]]
    for name in ("python", "libraries", "device", "processor", "memory", "cache", "disk", "model", "network", "git"):
        assert name in names
    for check in data["checks"]:
        assert set(check) == {"name", "state", "value", "fix"}
        assert check["value"]
        assert check["state"] == "ok" or check["fix"]
    assert data["ok"] == all(check["state"] != "missing" for check in data["checks"])


@pytest.mark.parametrize(("language", "word"), [("en", "Processor"), ("zh", "处理器")])
def test_the_page_for_people(language: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--offline", "--lang", language]) in (0, 1)
    page = capsys.readouterr().out
    assert word in page
    assert "doctor_" not in page


def test_the_device_comes_with_its_reason() -> None:
    check = checks()["device"]
    assert check.state == "ok"
    assert ": " in check.value


def test_a_missing_model_comes_with_its_command(tmp_path: Path) -> None:
    check = checks()["model"]
    assert check.state == "optional"
    assert check.fix == "cinquain models pull smollm2-135m"
    assert str(tmp_path) in checks()["cache"].value


def test_a_missing_program_comes_with_the_line_of_this_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/brew" if name == "brew" else None)
    found = checks()
    assert found["bubblewrap"] == Check("bubblewrap", "optional", found["bubblewrap"].value, "brew install bubblewrap")
    assert "safely" in found["bubblewrap"].value
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "package manager" in checks()["git"].fix


def test_a_library_of_the_wrong_version_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["rich>=9999", "no-such-thing>=1", 'extra-one; extra == "x"']
    )
    check = checks()["libraries_wrong"]
    assert check.state == "missing"
    assert "rich>=9999" in check.value
    assert "no-such-thing" in check.value
    assert "extra-one" not in check.value
    assert "pip install -c constraints.txt -e ." in check.fix
    assert main(["doctor", "--offline"]) == 1
    assert "✗" in capsys.readouterr().out


def test_little_memory_and_little_disk_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    class Memory:
        available, total = 2e8, 1e9

    class Disk:
        free, total = 1e8, 1e9

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk)
    found = checks()
    assert (found["memory"].state, found["disk"].state) == ("optional", "missing")
    assert "CINQUAIN_HOME" in found["disk"].fix
    assert "0.1 GB free of 1.0 GB" in found["disk"].value


def test_a_cache_that_cannot_be_written_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere, so it is asked for here
    check = checks()["cache"]
    assert check.state == "missing"
    assert "CINQUAIN_HOME" in check.fix


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "CINQUAIN_OFFLINE"])
def test_no_network_call_where_it_is_forbidden(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(addresses: object) -> None:
        raise AssertionError("a network call")

    monkeypatch.setattr(doctor, "reachable", fail)
    monkeypatch.setenv(variable, "1")
    found = {check.name: check for check in examine()}
    assert variable in found["network"].value
    assert "index" not in found


def test_what_cannot_be_reached_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HF_HUB_OFFLINE", "CINQUAIN_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://someone:secret@index.example/simple")
    monkeypatch.setattr(doctor, "reachable", lambda addresses: {"index": None, "hub": "no route"})
    found = {check.name: check for check in examine()}
    assert found["index"] == Check("index", "ok", "https://index.example/simple")
    assert found["hub"].state == "optional"
    assert "no route" in found["hub"].value


class Answer(BaseHTTPRequestHandler):
    """Answers as its path says: /404 with 404."""

    def do_HEAD(self) -> None:
        self.send_response(int(self.path.strip("/").split("/")[0]))
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answer) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_server_that_answers_is_reachable_whatever_it_says(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_TIMEOUT_S", 2.0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}"
    addresses = {"ok": f"{server}/200", "denied": f"{server}/403", "broken": f"{server}/502", "closed": closed}
    found = reachable({**addresses, "odd": "file:///etc/passwd"})
    assert found["ok"] is None
    assert found["denied"] is None
    assert found["broken"] == "HTTP 502"
    assert found["closed"]
    assert found["odd"]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:secret@host/simple", "https://host/simple"),
        ("https://host/a@b", "https://host/a@b"),
        ("https://host", "https://host"),
    ],
)
def test_passwords_are_not_shown(address: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mask(address) == shown
    monkeypatch.setenv("PIP_INDEX_URL", address)
    assert index_address() == shown
