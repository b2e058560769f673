"""``cinquain eval run``: what it prints, resumes, refuses; processes that share the rows give what one gives."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from apps.cli import eval as module
from apps.cli.main import main
from eval.records import RecordFile, Shard, load_run
from pipelines.engines.scripted import ScriptedEngine
from tests.doubles.faulty_server import FaultyServer, echo, refuses
from tests.doubles.remote_calls import running_server
from tests.doubles.tiny import tiny_llama, tiny_tokenizer

server = running_server
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A benchmark of a person's own."""
    path = tmp_path / "mine.jsonl"
    row = {"task": "dialogue", "references": ["You are right."]}
    found = [{**row, "messages": [{"role": "user", "content": f"Question {place}?"}]} for place in range(11)]
    path.write_text("".join(json.dumps(each) + "\n" for each in found), encoding="utf-8")
    return path


def command(rows: Path, *more: str) -> list[str]:
    out = rows.parent / "results"
    return ["eval", "run", "--benchmark", str(rows), "--model", "scripted", "--out", str(out), *more]


def runs(rows: Path) -> list[Path]:
    return sorted((rows.parent / "results").iterdir())


def test_it_says_how_many_rows_came_and_where_they_are(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(rows)) == 0
    shown = capsys.readouterr()
    (folder,) = runs(rows)
    assert "mine: 11 of 11 rows, 0 failed, 0 cut at the limit of tokens" in shown.out
    assert str(folder) in shown.out
    assert "0 of 3 rows got another text" in shown.err
    assert len(load_run(folder).records) == 11
    assert main(command(rows, "--lang", "zh", "--quiet")) == 0
    assert "11/11 行" in capsys.readouterr().out


def test_json_is_one_object_for_each_benchmark(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = rows.with_name("other.jsonl")
    other.write_bytes(rows.read_bytes())
    assert main(command(rows, "--benchmark", str(other), "--limit", "4", "--json", "--max-new-tokens", "3")) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["benchmark"], each["rows"], each["answered"], each["cut"]) for each in found] == [
        ("mine", 4, 4, 4),
        ("other", 4, 4, 4),
    ]
    assert found[0]["costs"]["tokens_per_s"] > 0
    assert found[0]["failed"] == {}
    assert found[0]["notes"][0]["sentence"].endswith("got another text.")


def test_the_command_in_the_run_repeats_it(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(rows, "--limit", "5", "-e", "context_length=900", "--alone", "0")) == 0
    (folder,) = runs(rows)
    program, *words = load_run(folder).provenance["command"].split()
    assert program == "cinquain"
    before = (folder / "records.jsonl").read_bytes()
    assert main([*words, "--alone", "0", "--out", str(rows.parent / "results")]) == 0
    assert runs(rows) == [folder]
    assert (folder / "records.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--shard", "0/2"], "I/N"),
        (["--shard", "3/2"], "I/N"),
        (["--shard", "half"], "I/N"),
        (["--benchmark", "no-such-benchmark"], "no-such-benchmark"),
        (["--suite", "smok"], "smoke"),
        (["--engine", "tokens=3"], "tokens"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    more: list[str], words: str, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(rows, *more)) == 2
    assert words in capsys.readouterr().err
    assert not (rows.parent / "results").exists()


def test_nothing_to_ask_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "run", "--model", "scripted"]) == 2
    assert "--suite smoke" in capsys.readouterr().err


def test_another_process_at_work_is_told(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(rows)) == 0
    (folder,) = runs(rows)
    with FileLock(folder / ".records.lock"):
        assert main(command(rows)) == 1
    assert "Another process" in capsys.readouterr().err


def test_ctrl_c_leaves_a_run_that_goes_on(
    rows: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, tokens = ScriptedEngine.batch, 0

    def stop() -> None:
        nonlocal tokens
        tokens += 1
        if tokens == 33:
            os.kill(os.getpid(), signal.SIGINT)

    def batch(self: ScriptedEngine, *given: Any) -> Any:
        self._on_token = stop
        return whole(self, *given)

    monkeypatch.setattr(ScriptedEngine, "batch", batch)
    assert main(command(rows)) == 130
    (folder,) = runs(rows)
    stopped = load_run(folder)
    assert 0 < len(stopped.records) < 11
    assert f"{len(stopped.records)} of 11 rows are saved" in capsys.readouterr().err
    assert main(command(rows)) == 0
    whole = load_run(folder).records
    assert len(whole) == 11
    assert set(map(repr, stopped.records)) < set(map(repr, whole))


def test_processes_that_were_launched_together_share_the_rows(rows: Path) -> None:
    words = [sys.executable, "-m", "apps.cli", *command(rows)]
    started = []
    for rank in "01":  # what `accelerate launch` sets
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}
        started.append(subprocess.Popen(words, env={**os.environ, **place}, cwd=ROOT, stdout=subprocess.PIPE))
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert any(b"11 of 11" in each for each in said)  # whoever is last sees all rows
    (folder,) = runs(rows)
    shares = [RecordFile(path).read()[0] for path in sorted(folder.glob("records-*.jsonl"))]
    ids = [[entry["row_id"] for entry in share if entry["kind"] == "row"] for share in shares]
    assert list(map(len, ids)) == [6, 5]
    merged = load_run(folder)
    single = rows.parent / "single"
    assert main([*command(rows), "--out", str(single)]) == 0
    (alone,) = map(load_run, single.iterdir())
    assert [(each.row_id, each.reply) for each in merged.records] == [
        (each.row_id, each.reply) for each in alone.records
    ]
    assert merged.alone == alone.alone
    assert merged.folder.name == alone.folder.name


def test_each_of_several_processes_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    given = {"dtype": "bfloat16"}
    assert module._computing("folder", given, Shard(2, 2)) == {"dtype": "bfloat16", "device": "cuda:1"}
    assert module._computing("folder", {**given, "device": "cpu"}, Shard(2, 2)) == {**given, "device": "cpu"}
    assert module._computing("folder", given, Shard()) == given
    assert module._computing("https://host/v1#model", {}, Shard(2, 2)) == {}


def test_one_row_and_a_batch_are_computed_alike(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.engines.device.has_bfloat16_instructions", lambda: False)
    folder = rows.parent / "model"
    tokenizer = tiny_tokenizer(["one two three"])
    tokenizer.save_pretrained(folder)
    tiny_llama(len(tokenizer)).save_pretrained(folder)
    words = command(rows, "--max-new-tokens", "8", "-e", "device=cpu", "--alone", "11")
    words[words.index("scripted")] = str(folder)
    assert main(words) == 0
    (found,) = map(load_run, runs(rows))
    assert found.identity["engine"]["dtype"] == "float32"
    assert list(found.alone.values()) == [True] * 11


def test_a_server_that_goes_away_leaves_a_run_that_goes_on(
    rows: Path, server: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = [*[echo] * 3, refuses(503, "down for maintenance")]
    words = command(rows, "-e", "retries=0", "-e", "concurrency=1", "-e", "context_length=4096")
    words[words.index("scripted")] = server.reference
    assert main(words) == 1
    assert "the same command continues" in capsys.readouterr().err
    server.answers = [echo]
    assert main(words) == 0
    assert "11 of 11 rows" in capsys.readouterr().out
    asked = [each.body["messages"][-1]["content"] for each in server.asked if each.body]
    assert len(asked) == 11 + 1 + 3  # each once, the one that was refused, and three once more by themselves


def test_a_suite_leaves_out_what_the_model_cannot_do(
    rows: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.errors import InputError

    def check(self: ScriptedEngine, task: str) -> None:
        if task == "dialogue":
            raise InputError("model_task", model="scripted", task=task, tasks="translation")

    monkeypatch.setattr(ScriptedEngine, "check_task", check)
    monkeypatch.setattr("eval.benchmarks.suite", lambda name: (str(rows),))
    out = str(rows.parent / "results")
    assert main(["eval", "run", "--suite", "smoke", "--model", "scripted", "--out", out]) == 2  # nothing ran at all
    assert "was trained for: translation" in capsys.readouterr().err
    assert main(command(rows)) == 2
