"""The guards of conftest.py: nothing leaves the machine, and what is lacking skips or fails as it was asked to."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest


@pytest.mark.parametrize("host", ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "example.org", b"example.org"])
def test_names_and_addresses_elsewhere_are_blocked(host: str | bytes, network_attempts: list[str]) -> None:
    with pytest.raises(OSError, match="tests reach no network"):
        socket.create_connection((host, 443), timeout=1)  # type: ignore[arg-type]
    assert network_attempts == [str(host)]
    network_attempts.clear()


@pytest.mark.parametrize(
    "send", [lambda s, a: s.connect(a), lambda s, a: s.connect_ex(a), lambda s, a: s.sendto(b"", a)]
)
def test_every_way_to_an_address_is_blocked(
    send: Callable[[socket.socket, tuple[str, int]], object], network_attempts: list[str]
) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        pytest.raises(OSError, match="tests reach no network"),
    ):
        send(udp, ("192.0.2.1", 53))
    network_attempts.clear()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost"])
def test_this_machine_can_be_reached(host: str) -> None:
    with socket.create_server(("127.8.8.8" if host == "127.8.8.8" else "127.0.0.1", 0)) as server:
        socket.create_connection((host, server.getsockname()[1]), timeout=5).close()


def test_programs_that_a_test_starts_are_kept_from_the_network_too() -> None:
    code = "import urllib.request as r; r.urlopen('http://192.0.2.1/', timeout=5)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Connection refused" in done.stderr
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(("everything", "outcome"), [(True, pytest.fail.Exception), (False, pytest.skip.Exception)])
def test_what_is_lacking_skips_or_fails(
    everything: bool, outcome: type[Exception], require: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(require.__globals__, "REQUIRE_ALL", everything)  # type: ignore[attr-defined]
    monkeypatch.setenv("PATH", "")
    with pytest.raises(outcome, match="apt-get install bubblewrap"):
        require("bwrap")
