"""Data sets of the Hub: read at one commit, never run, and refused in one sentence."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from finetune.data import Source
from finetune.data.hub import hub_records
from finetune.data.sources import open_sources, read
from pipelines.errors import CinquainError, InputError
from tests.doubles.data_rows import plain_rows, write_lines
from tests.doubles.fake_hub import Answer, FakeHub, use_hub

ROWS = plain_rows(30)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub() as server:
        use_hub(server, tmp_path, monkeypatch)
        # What the library read when it was imported.
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        yield server


def refused(path: str, kind: type[CinquainError] = InputError, **more: Any) -> str:
    with pytest.raises(CinquainError) as caught:
        open_sources([Source(path=path, **more)])
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return caught.value.code


def test_a_data_set_is_pinned_to_its_commit(hub: FakeHub) -> None:
    repository = hub.add("org/rows", {"data.jsonl": b"{}"}, kind="dataset")
    first = repository.resolve("main")
    (opened,) = open_sources([Source(path="hub:org/rows")])
    assert (opened.format, opened.name, opened.source.path) == ("hub", "org/rows", f"hub:org/rows@{first}")
    second = repository.commit({"data.jsonl": b"{ }"})
    (moved,) = open_sources([Source(path="org/rows", format="hub", name="mine")])
    assert (moved.name, moved.source.path) == ("mine", f"hub:org/rows@{second}")
    assert moved.sha256 != opened.sha256
    (again,) = open_sources([Source(path=f"hub:org/rows@{first}")])
    assert again.sha256 == opened.sha256
    (other,) = open_sources([Source(path=f"hub:org/rows@{first}", hub_split="test")])
    assert other.sha256 != opened.sha256
    assert not hub.downloads()


def test_a_data_set_that_is_a_program_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    program = f"open({str(ran)!r}, 'w')".encode()
    hub.add("org/rows", {"rows.py": program, "data.jsonl": b"{}"}, kind="dataset")
    assert refused("hub:org/rows") == "data_hub_script"
    hub.add("org/other", {"helpers.py": program, "data.jsonl": b"{}"}, kind="dataset")
    assert open_sources([Source(path="hub:org/other")])
    assert not ran.exists()


def test_data_sets_that_are_not_there(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/rows", {"data.jsonl": b"{}"}, kind="dataset")
    hub.add("org/model", {"config.json": b"{}"})
    assert refused("hub:org/nothing") == "data_hub_missing"
    assert refused("hub:org/model") == "data_hub_missing"
    assert refused("hub:org/rows@nowhere") == "data_hub_missing"
    for name in ("hub:", "hub:a/b/c", "hub:../../etc", "hub:org/na me"):
        assert refused(name) in ("data_hub_missing", "data_hub_local")
    hub.faults.append((r"/api/datasets/org/rows", Answer(503, b"<html>\nBusy"), None))
    assert refused("hub:org/rows", CinquainError) == "data_hub_failed"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "rows").mkdir(parents=True)
    assert refused("hub:org/rows") == "data_hub_local"


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "CINQUAIN_OFFLINE"])
def test_offline_nobody_is_asked(hub: FakeHub, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/rows", {"data.jsonl": b"{}"}, kind="dataset")
    monkeypatch.setenv(variable, "1")
    assert refused("hub:org/rows", CinquainError) == "data_hub_offline"
    assert hub.requests == []


def test_no_network_is_one_sentence(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert refused("hub:org/rows", CinquainError) == "data_hub_failed"


STREAMED = """
import json, sys
from pathlib import Path
from finetune.data import Source
from finetune.data.sources import open_sources, read

(opened,) = open_sources([Source(path=sys.argv[1])])
records = [record for block in opened.blocks(Path(sys.argv[2])) for record in read(block)]
print(json.dumps([opened.source.path, [[record.id, record.data] for record in records]]))
"""


def test_rows_come_from_the_commit_that_was_asked_for(hub: FakeHub, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "rows.jsonl", ROWS).read_bytes()
    first = hub.add("org/rows", {"README.md": b"---\n---\n", "train.jsonl": data}, kind="dataset").resolve("main")
    hub.repositories["org/rows"].commit({"README.md": b"", "train.jsonl": b"{}"})
    # The library reads HF_ENDPOINT when it is imported.
    arguments = [sys.executable, "-c", STREAMED, f"hub:org/rows@{first}", str(tmp_path / "spool")]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0, done.stderr
    path, records = json.loads(done.stdout)
    assert path == f"hub:org/rows@{first}"
    assert records == [[f"org/rows:{number}", row] for number, row in enumerate(ROWS, 1)]
    assert set(hub.downloads()) == {"README.md", "train.jsonl"}


# The library takes a folder for a data set of the Hub; only the way in which files come differs.


def local(folder: Path, **more: Any) -> Source:
    return Source(path=f"hub:{folder}", **more)


def test_rows_are_streamed_in_order_with_values_as_json_has_them(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    rows = [{**row, "turns": [{"role": "user", "content": "hi"}], "score": float("nan")} for row in ROWS]
    for place in range(3):
        table = pyarrow.Table.from_pylist(rows[place * 10 : place * 10 + 10])
        pyarrow.parquet.write_table(table, folder / f"train-{place}.parquet")
    found = list(hub_records("org/rows", local(folder)))
    assert [record.id for record in found] == [f"org/rows:{number}" for number in range(1, 31)]
    assert [record.data for record in found] == [{**row, "score": None} for row in rows]
    lines = tmp_path / "lines"
    lines.mkdir()
    write_lines(lines / "train.jsonl", ROWS)
    write_lines(lines / "test.jsonl", ROWS[:3])
    assert [record.data for record in hub_records("r", local(lines, hub_split="test"))] == ROWS[:3]


def test_images_stay_as_they_are_stored(tmp_path: Path) -> None:
    from PIL import Image as Picture

    folder = tmp_path / "set"
    folder.mkdir()
    Picture.new("RGB", (2, 2)).save(folder / "a.png")
    write_lines(folder / "metadata.jsonl", [{"file_name": "a.png", "text": "two by two", "summary": "black"}])
    (record,) = hub_records("r", local(folder))
    assert record.data is not None
    assert record.data["text"] == "two by two"
    assert json.dumps(record.data["image"])


def test_a_set_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    write_lines(folder / "train.jsonl", ROWS)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.parquet").write_bytes(b"PAR1 and no more")
    program = tmp_path / "program"
    program.mkdir()
    (program / "program.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    for source in (
        local(folder, hub_split="nothing"),
        local(folder, subset="nothing"),
        local(tmp_path / "empty"),
        local(tmp_path / "broken"),
        local(program),
    ):
        with pytest.raises(InputError) as caught:
            list(hub_records("r", source))
        assert caught.value.code == "data_hub_unreadable"
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_no_more_is_read_than_asked_for(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.data import hub as hub_module

    folder = tmp_path / "set"
    folder.mkdir()
    write_lines(folder / "train.jsonl", ROWS)
    monkeypatch.setattr(hub_module, "hub_identity", lambda source: {"id": str(folder), "revision": None})
    (opened,) = open_sources([Source(path=f"hub:{folder}", name="rows", limit=7)])
    found = [record for block in opened.blocks(tmp_path / "spool") for record in read(block)]
    assert [record.data for record in found] == ROWS[:7]
    assert [record.id for record in found] == [f"rows:{number}" for number in range(1, 8)]
