"""What every test stands on: no network, fixed seeds, a cache of its own, and guards for what a machine may lack.

A test that lacks something skips with the line that fixes it; with ``CINQUAIN_REQUIRE_ALL=1`` (CI) it fails instead.
"""

import ipaddress
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REQUIRE_ALL = os.environ.get("CINQUAIN_REQUIRE_ALL") == "1"

_PROXIES = {
    name: os.environ.get(name)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY")
}

# Before any library is imported: each reads its variables once. The proxy that nobody serves stops programs that a test
# starts, which the guard of this process cannot reach; local servers are exempt.
os.environ.update(
    OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1"),  # two threads beside a browser are five times slower
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    GRADIO_ANALYTICS_ENABLED="False",
    TOKENIZERS_PARALLELISM="false",
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1,::1"),
)
os.environ.pop("ALL_PROXY", None)
os.environ.pop("all_proxy", None)


class NetworkBlockedError(OSError):
    """A test tried to leave the machine. An ``OSError``, so that code under test meets what it meets when offline."""


_attempts: list[str] = []


def _is_local(host: Any) -> bool:
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host).split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _guard(host: Any) -> None:
    if not _is_local(host):
        _attempts.append(str(host))
        raise NetworkBlockedError(f"tests reach no network, and this one tried {host!r}: use a double on 127.0.0.1")


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """``method`` of a socket, whose last positional argument is an address."""

    def call(self: socket.socket, *arguments: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and isinstance(arguments[-1], tuple):
            _guard(arguments[-1][0])
        return method(self, *arguments)

    return call


for _name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, _name, _guarded(getattr(socket.socket, _name)))

_getaddrinfo = socket.getaddrinfo


def _local_getaddrinfo(host: Any, *arguments: Any, **keywords: Any) -> Any:
    _guard(host)  # asking for a name is a request, too
    return _getaddrinfo(host, *arguments, **keywords)


socket.getaddrinfo = _local_getaddrinfo

from hypothesis import settings  # noqa: E402

settings.register_profile("cinquain", deadline=None, derandomize=REQUIRE_ALL)  # CI repeats what it ran before
settings.load_profile("cinquain")


@pytest.fixture(autouse=True)
def network_attempts() -> Iterator[list[str]]:
    """Hosts that the test tried to reach. Any left at the end fails the test, even if the error was swallowed."""
    _attempts.clear()
    yield _attempts
    assert not _attempts, f"the test tried to reach {_attempts}; clear network_attempts where that is the point"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)


@pytest.fixture
def package_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip and uv, started by the test, reach their index: for slow tests whose point is a fresh environment."""
    for name, value in _PROXIES.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``CINQUAIN_HOME`` with nothing in it."""
    home = tmp_path / "cinquain-home"
    home.mkdir()
    monkeypatch.setenv("CINQUAIN_HOME", str(home))
    return home


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """Where a test leaves what a person may look at (screenshots): ``CINQUAIN_ARTIFACTS``, or a temporary folder."""
    folder = Path(os.environ.get("CINQUAIN_ARTIFACTS") or tmp_path / "artifacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def lacking(reason: str) -> None:
    """End the test: skip it with the reason, or fail it where everything must be there."""
    if REQUIRE_ALL:
        pytest.fail(f"{reason} (CINQUAIN_REQUIRE_ALL=1)", pytrace=False)
    pytest.skip(reason)


def _program(name: str) -> str:
    """The path of ``chromium`` or ``bwrap``, once it is known to be usable."""
    path = shutil.which(name)
    if path is None:
        lacking(f"needs {name}: apt-get install {'bubblewrap' if name == 'bwrap' else name}")
    elif name == "bwrap":
        # Installed is not enough: some containers forbid the namespaces that it is made of.
        probe = subprocess.run([path, "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True, text=True)
        if probe.returncode:
            lacking(f"bubblewrap cannot make a sandbox here: {probe.stderr.strip()}")
    return str(path)


@pytest.fixture(scope="session")
def require() -> Callable[[str], str]:
    """``require("chromium")`` or ``require("bwrap")``: the program's path, or the test ends here."""
    return _program


def _tier(name: str | None = None) -> None:
    from eval.sandbox import available_tier, refusal

    if name is None and available_tier() is None:
        lacking("needs a sandbox that holds: cinquain doctor")
    if name is not None and (reason := refusal(name)):  # type: ignore[arg-type]
        lacking(f"needs the sandbox of {name}: {reason}")


@pytest.fixture(scope="session")
def require_tier() -> Callable[[str], None]:
    """``require_tier("bubblewrap")``: programs can be run in that tier, or the test ends here."""
    return _tier


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """Folder of the embedded model, converted and ready."""
    from pipelines.models.embedded import EMBEDDED, damage, folder_of

    (model,) = EMBEDDED.values()
    if damage(model):
        lacking(f"needs the embedded model: cinquain models pull {model.name}")
    return folder_of(model)


@pytest.fixture(scope="session")
def engine(embedded_model: Path) -> Any:
    """The embedded model on the local engine, loaded once for all tests."""
    from pipelines import DEFAULT_MODEL
    from pipelines.engines import load_engine

    return load_engine(DEFAULT_MODEL)


@pytest.fixture(autouse=True)
def _marked(request: pytest.FixtureRequest) -> None:
    """Tests marked ``model``, ``browser`` or ``sandbox`` run only where that is there."""
    if request.node.get_closest_marker("model"):
        request.getfixturevalue("embedded_model")
    if request.node.get_closest_marker("browser"):
        _program("chromium")
    if request.node.get_closest_marker("sandbox"):
        _tier()
