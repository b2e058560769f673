"""Models on the fake Hub in tests: the server, what resolving refuses, what a download leaves behind.

A test file takes the fixtures by giving them their names: ``hub = running_hub``, ``gguf = tiny_gguf``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import CinquainError, InputError
from pipelines.models import resolve
from pipelines.models.hub.cache import cache_folder
from tests.doubles.fake_hub import FakeHub, Files, use_hub
from tests.doubles.tiny_gguf import write_tiny_gguf


@pytest.fixture
def running_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub for one test, which the libraries take for the real one."""
    with FakeHub() as server:
        use_hub(server, tmp_path, monkeypatch)
        yield server


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a GGUF file."""
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


def refused(reference: str, code: str, kind: type[CinquainError] = InputError) -> str:
    """The sentence of the error with this code that resolving must raise."""
    with pytest.raises(CinquainError) as caught:
        resolve(reference, quiet=True)
    assert caught.value.code == code, caught.value
    assert type(caught.value) is kind
    return str(caught.value)


def without(files: Files, *names: str) -> Files:
    """The files but for these."""
    return {name: data for name, data in files.items() if name not in names}


def leftovers() -> list[str]:
    """Files of downloads that did not end."""
    return [path.name for path in cache_folder().rglob("*.incomplete")]
