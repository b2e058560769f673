"""Models of the catalog on the fake Hub in tests, and machines that they may run on.

A test file takes the fixture by giving it its name: ``hub = hub_without_embedded``.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.engines.device import DeviceChoice
from pipelines.generation import Note
from pipelines.models.catalog import Entry, Machine, entries
from tests.doubles.fake_hub import FakeHub, small_model, use_hub

GPU = DeviceChoice("cuda", "bfloat16", False, Note("dtype_cuda_bfloat16"))
CPU = DeviceChoice("cpu", "float32", True, Note("dtype_cpu_one_row"))
LARGE = Machine(GPU, {"cuda:0": 80_000_000_000})
SMALL = Machine(CPU, {"cpu": 4_000_000_000})


@pytest.fixture
def hub_without_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub for one test, where the embedded model is an empty folder."""
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
