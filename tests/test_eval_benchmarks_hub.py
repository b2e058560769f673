"""Benchmarks on the Hub: pinned at their first use, kept for later ones, refused in one sentence."""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import eval.benchmarks
from eval.benchmarks import load_benchmark, rows_hash, suite
from eval.benchmarks.rows import row_of
from eval.benchmarks.schema import read_benchmark_file
from pipelines.errors import CinquainError
from tests.doubles.benchmark_files import refused, written
from tests.doubles.data_rows import plain_rows, write_lines
from tests.doubles.fake_hub import FakeHub, use_hub

FOLDER = Path(eval.benchmarks.__file__).parent

HUB_RECORDS: dict[str, dict[str, Any]] = {
    "flores": {"id": 1, "text": "One two.", "domain": "wikinews", "beside": {"id": 1, "text": "Eins zwei."}},
    "wmt": {"translation": {"de": "Hallo.", "en": "Hello.", "zh": "你好。"}},
    "xsum": {"id": "9", "document": "A long text about rain.", "summary": "Rain."},
    "cnn": {"id": "9", "article": "A long text about rain.", "highlights": "Rain .\nMore rain ."},
    "samsum": {"id": "9", "dialogue": "Ann: hi\nBob: hello", "summary": "They greet."},
    "mbpp": {"task_id": 2, "prompt": "Write one.", "code": "def f():\n    return 1", "test_imports": ["import math"],
             "test_list": ["assert f() == 1", "assert f()"]},
}  # fmt: skip


@pytest.mark.parametrize("name", suite("hub"))
def test_definitions_of_the_hub_read_the_columns_of_their_sets(name: str) -> None:
    (record,) = [record for start, record in HUB_RECORDS.items() if name.startswith(start)]
    row = row_of(record, "1", read_benchmark_file(FOLDER / "hub" / f"{name}.yaml"))
    assert row.references
    assert row.references[0] in str(record).replace("\\n", "\n")
    if name == "mbpp":
        assert row.request["tests"] == "assert f() == 1\nassert f()"
        assert row.facts["tests"] == "import math\nassert f() == 1\nassert f()"


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "CINQUAIN_OFFLINE"])
def test_without_the_hub_it_is_one_sentence(variable: str, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    for name in suite("hub"):
        error = refused(name, CinquainError)
        assert error.code == "data_hub_offline"
        assert not list(empty_home.iterdir())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub() as server:
        use_hub(server, tmp_path, monkeypatch)
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", server.url)  # read when the library was imported
        yield server


STREAMED = """
import sys
from eval.benchmarks import load_benchmark
benchmark = load_benchmark(sys.argv[1])
print(benchmark.sha256, benchmark.remarks)
"""


def test_the_first_use_pins_the_commit_and_keeps_the_rows(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**row, "id": number} for number, row in enumerate(plain_rows(40))]
    data = write_lines(tmp_path / "data.jsonl", rows).read_bytes()
    text = "{task: summarization, rows: 'hub:org/rows', columns: {id: id, text: text, reply: summary}, limit: 5}"
    path = written(tmp_path, text, [])
    repository = hub.add("org/rows", {"README.md": b"---\n---\n", "test.jsonl": data}, kind="dataset")
    first = repository.resolve("main")
    # The library reads HF_ENDPOINT when it is imported.
    done = subprocess.run(
        [sys.executable, "-c", STREAMED, path], capture_output=True, text=True, cwd=FOLDER.parent.parent
    )
    assert done.returncode == 0, done.stderr
    sha256, remarks = done.stdout.split(maxsplit=1)
    assert remarks.strip() == f"Commit {first}."

    repository.commit({"test.jsonl": b'{"id": 1, "text": "other", "summary": "rows"}'})
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert load_benchmark(path).sha256 == sha256
    assert hub.requests == []

    # Another choice of rows is read anew, and from the same commit.
    monkeypatch.delenv("HF_HUB_OFFLINE")
    asked: list[Any] = []

    def rows_at(name: str, revision: str, subset: str | None, split: str) -> Iterator[dict[str, Any]]:
        asked.append((name, revision, subset, split))
        yield from rows

    monkeypatch.setattr("eval.benchmarks.hub.dataset_rows", rows_at)
    path = written(tmp_path, text.replace("limit: 5", "limit: 6"), [])
    assert len(load_benchmark(path).rows) == 6
    assert asked == [("org/rows", first, None, "test")]
    chosen = written(tmp_path, text.replace("org/rows", "org/rows@main"), [], "other")
    load_benchmark(chosen)
    assert asked[-1][1] == repository.resolve("main") != first


def test_two_configurations_beside_each_other(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/pairs", {"README.md": b""}, kind="dataset")
    tables = {
        "en": [{"id": 1, "text": "One."}, {"id": 2, "text": "Two."}],
        "de": [{"id": 1, "text": "Eins."}, {"id": 2, "text": "Zwei."}],
    }
    monkeypatch.setattr("eval.benchmarks.hub.dataset_rows", lambda name, revision, subset, split: iter(tables[subset]))
    text = (
        "task: translation\nrows: hub:org/pairs\nsubset: en\nbeside: de\nvalues: {source: en, target: de}\n"
        "columns: {id: id, text: text, reply: beside.text}\n"
    )
    benchmark = load_benchmark(written(tmp_path, text, []))
    assert [(row.request["text"], row.references) for row in benchmark.rows] == [
        ("One.", ("Eins.",)),
        ("Two.", ("Zwei.",)),
    ]
    for number, wrong in enumerate(([{"id": 1, "text": "Eins."}], [{"id": 1, "text": "a"}, {"id": 3, "text": "b"}])):
        tables["de"] = wrong
        assert refused(written(tmp_path, text, [], f"wrong{number}")).code == "benchmark_beside"


def test_what_the_hub_has_not_or_would_run_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/program", {"program.py": b"raise SystemExit"}, kind="dataset")
    text = "{task: summarization, rows: 'hub:org/%s'}"
    assert refused(written(tmp_path, text % "nothing", [])).code == "data_hub_missing"
    assert refused(written(tmp_path, text % "program", [])).code == "data_hub_script"


def test_the_kept_file_of_another_version_or_a_broken_one_is_read_anew(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/rows", {"README.md": b""}, kind="dataset")
    rows = plain_rows(3)
    monkeypatch.setattr("eval.benchmarks.hub.dataset_rows", lambda *arguments: iter(rows))
    path = written(tmp_path, "{task: summarization, rows: 'hub:org/rows'}", [])
    wanted = rows_hash(load_benchmark(path).rows)
    (kept,) = (tmp_path / "home" / "benchmarks").iterdir()
    for broken in (b"{", b"[]", gzip.compress(b"x"), b'{"schema_version": 0}'):
        kept.write_bytes(broken)
        assert rows_hash(load_benchmark(path).rows) == wanted
    assert json.loads(kept.read_bytes())["dataset"] == "org/rows"
