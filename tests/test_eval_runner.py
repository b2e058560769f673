"""A run asks each row once, whatever happens to it, and never takes the replies of another model for its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import runner
from eval.benchmarks import Benchmark, BenchmarkRow
from eval.records import RecordFile, Run, Shard, load_run
from eval.runner import run
from pipelines import CinquainError, Pipeline, pipeline
from pipelines.engines.base import Call
from pipelines.engines.local import LocalEngine
from pipelines.engines.scripted import ScriptedEngine
from pipelines.errors import UnavailableError
from pipelines.models import resolve
from pipelines.tasks import TASKS
from tests.doubles.faulty_server import FaultyServer, echo, refuses
from tests.doubles.remote_calls import engine as remote_engine
from tests.doubles.remote_calls import no_waits, running_server
from tests.doubles.tiny import PAIRS, tiny_chat_model, tiny_llama
from tests.doubles.tiny_adapters import random_adapter

ROOT = Path(__file__).parent.parent
server, waits = running_server, no_waits


def sentences(count: int) -> Benchmark:
    """A benchmark of translation."""
    rows = (BenchmarkRow(f"r{place}", {"text": f"Sentence {place}.", "target": "fr"}) for place in range(count))
    return Benchmark("sentences", 1, "translation", tuple(rows), ("chrf",))


def questions(asked: Sequence[str]) -> Benchmark:
    """A benchmark of dialogue."""
    rows = (BenchmarkRow(text, {"messages": [{"role": "user", "content": text}]}) for text in asked)
    return Benchmark("questions", 1, "dialogue", tuple(rows), ("distinct_2",), max_new_tokens=24)


def replies(found: Run) -> list[str]:
    return [record.reply for record in found.records]


def lines(found: Run) -> list[str]:
    """Ids of the rows in the order in which they were written, over all processes."""
    entries = [entry for path in sorted(found.folder.glob("*.jsonl")) for entry in RecordFile(path).read()[0]]
    return [entry["row_id"] for entry in entries if entry["kind"] == "row"]


def test_each_row_is_asked_once_and_the_records_are_in_order(tmp_path: Path) -> None:
    benchmark, told = sentences(70), list[float]()
    translate = pipeline("translation", "scripted")
    found = run(benchmark, translate, tmp_path, progress=told.append)
    assert replies(found) == [f"[fr] Sentence {place}." for place in range(70)]
    assert [record.row_id for record in found.records] == [row.id for row in benchmark.rows]
    assert lines(found) == [f"r{place}" for place in (*range(10, 70), *range(10))]  # the longest are asked first
    assert (told[0], told[-1], found.rows) == (0, 70, 70)
    assert told == sorted(told)
    assert all(record.completion_tokens and record.seconds > 0 for record in found.records)
    assert found.costs["completion_tokens"] == sum(record.completion_tokens for record in found.records)
    engine = translate.engine
    assert isinstance(engine, ScriptedEngine)
    assert len(engine.calls) == 70 + runner.ALONE
    assert all(call.options.temperature == 0 for call in engine.calls)
    assert run(benchmark, translate, tmp_path) == found == load_run(found.folder)
    assert len(engine.calls) == 70 + runner.ALONE  # nothing was left to ask
    assert {path.stat().st_mode & 0o777 for path in found.folder.glob("r*")} == {0o600}


def test_other_rows_options_and_wording_are_other_runs(tmp_path: Path) -> None:
    translate = pipeline("translation", "scripted")
    prompt = translate.wording()[1]
    reworded = pipeline("translation", "scripted", prompt=prompt.model_copy(update={"version": prompt.version + 1}))
    found = [
        run(sentences(3), translate, tmp_path),
        run(sentences(4), translate, tmp_path),
        run(sentences(3), translate, tmp_path, max_new_tokens=4),
        run(sentences(3), translate, tmp_path, engine_options={"thinking": True}),
        run(sentences(3), reworded, tmp_path),
    ]
    assert len({each.folder for each in found}) == 5
    assert {record.finish_reason for record in found[2].records} == {"length"}
    assert run(sentences(3), translate, tmp_path, engine_options={"token_budget": 9}) == found[0]


PROGRAM = """
import os, signal, sys
from pathlib import Path
from eval import runner
from eval.benchmarks import Benchmark, BenchmarkRow
from pipelines import pipeline

texts = [f"Question {place}?" for place in range(80)]
rows = tuple(BenchmarkRow(text, {"messages": [{"role": "user", "content": text}]}) for text in texts)
benchmark = Benchmark("questions", 1, "dialogue", rows, ("distinct_2",), max_new_tokens=24)
runner._window = lambda device: 7
last = float(sys.argv[2])

def count(done):
    if done > last:
        os.kill(os.getpid(), signal.SIGKILL)

runner.run(benchmark, pipeline("dialogue", "scripted"), Path(sys.argv[1]), progress=count)
"""


def test_killed_five_times_it_loses_no_row_and_asks_none_twice(tmp_path: Path) -> None:
    benchmark, scripted = questions([f"Question {place}?" for place in range(80)]), pipeline("dialogue", "scripted")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for last, torn in ((3, 0), (16, 0), (30, 900), (38, 3), (60, 0)):
        call = [sys.executable, "-c", PROGRAM, str(tmp_path / "killed"), str(last)]
        assert subprocess.run(call, env=environment, cwd=ROOT).returncode == -signal.SIGKILL
        (folder,) = (tmp_path / "killed").iterdir()
        with (folder / "records.jsonl").open("r+b") as file:  # what a power cut leaves of the end
            file.truncate(max(0, file.seek(0, os.SEEK_END) - torn))
    assert 50 < len(load_run(folder).records) < 61
    found = run(benchmark, scripted, tmp_path / "killed")
    assert found.folder == folder
    assert replies(found) == replies(run(benchmark, scripted, tmp_path / "whole"))
    assert Counter(lines(found)) == Counter(row.id for row in benchmark.rows)


@settings(max_examples=30)
@given(cut=st.integers(0, 6000), window=st.integers(1, 13))
def test_wherever_its_file_is_torn_a_run_ends_with_each_row_once(
    cut: int, window: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, scripted = tmp_path_factory.mktemp("torn"), pipeline("dialogue", "scripted")
    benchmark = questions([f"Question {place}?" for place in range(12)])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runner, "_window", lambda device: window)
        whole = run(benchmark, scripted, folder, alone=2)
        path = whole.folder / "records.jsonl"
        data = path.read_bytes()
        path.write_bytes(data[: cut % (len(data) + 1)])
        again = run(benchmark, scripted, folder, alone=2)
    assert (replies(again), again.alone) == (replies(whole), whole.alone)
    assert Counter(lines(again)) == Counter(row.id for row in benchmark.rows)


def test_no_reply_is_taken_from_another_model_or_adapter(tmp_path: Path) -> None:
    folder = tiny_chat_model(tmp_path / "model")
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    adapter = random_adapter(folder, tmp_path / "adapter")
    benchmark = questions([question for question, _ in PAIRS])

    def ask(*adapters: Path) -> Run:
        engine = LocalEngine(resolve(str(folder)), *map(str, adapters), device="cpu", dtype="float32")
        try:
            return run(benchmark, Pipeline(TASKS["dialogue"](), engine), tmp_path / "results")
        finally:
            engine.close()

    first, adapted = ask(), ask(adapter)
    assert len(first.records) == 4
    assert first.alone == dict.fromkeys(first.alone, True)
    weights = folder / "model.safetensors"
    kept = weights.read_bytes()
    tiny_llama(vocabulary).save_pretrained(folder)
    other = ask()
    assert len({tuple(replies(each)) for each in (first, adapted, other)}) == 3
    weights.write_bytes(kept)
    shutil.move(folder, tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere"  # the same model, wherever it lies
    assert ask() == first
    with (folder / "tokenizer_config.json").open("a") as file:
        file.write(" ")
    assert len({each.folder for each in (first, adapted, other, ask())}) == 4


def test_stopped_it_keeps_what_had_ended(tmp_path: Path) -> None:
    cancel, count = threading.Event(), 0

    def stop() -> None:
        nonlocal count
        count += 1
        if count == 63:  # tokens, of six each: in the middle of the eleventh row
            cancel.set()

    engine = ScriptedEngine(on_token=stop)
    translate = Pipeline(TASKS["translation"](), engine)
    found = run(sentences(40), translate, tmp_path, cancel=cancel)
    assert [record.row_id for record in found.records] == [f"r{place}" for place in range(10, 20)]
    whole = run(sentences(40), translate, tmp_path)
    assert replies(whole) == [f"[fr] Sentence {place}." for place in range(40)]
    assert len(lines(whole)) == 40


def test_failures_are_records_that_can_be_asked_again(tmp_path: Path) -> None:
    broken = True

    def script(call: Call) -> str:
        if broken and "Sentence 2." in call.messages[-1]["content"]:
            raise CinquainError("memory_exhausted", reference="m", device="cpu", rows=1, longest=9)
        return f"reply to {call.messages[-1]['content']}"

    class Failing(ScriptedEngine):
        def batch(self, calls: Sequence[Call], *more: Any) -> list[Any]:
            from pipelines.engines.base import all_completed

            outcomes: list[Any] = []
            for call in calls:
                try:
                    outcomes += super().batch([call], *more)
                except CinquainError as error:
                    outcomes.append(error)
            return all_completed(outcomes)

    translate = Pipeline(TASKS["translation"](), Failing(script))
    found = run(sentences(5), translate, tmp_path)
    assert [record.error for record in found.records] == ["", "", "memory_exhausted", "", ""]
    assert (found.records[2].finish_reason, found.records[2].reply) == ("error", "")
    assert found.records[2].notes[0]["parameters"]["device"] == "cpu"
    broken = False
    assert run(sentences(5), translate, tmp_path) == found
    again = run(sentences(5), translate, tmp_path, retry=True)
    assert not any(record.error for record in again.records)
    assert lines(again) == ["r0", "r1", "r2", "r3", "r4", "r2"]


def test_rows_whose_text_changes_with_the_batch_are_counted(tmp_path: Path) -> None:
    count = 0

    def script(call: Call) -> str:
        nonlocal count
        count += 1
        return f"reply {count}" if count > 9 else "the first time"

    found = run(sentences(9), Pipeline(TASKS["translation"](), ScriptedEngine(script)), tmp_path, alone=4)
    assert list(found.alone.values()) == [False] * 4
    assert [(note.code, note.parameters) for note in found.notes] == [("eval_alone", {"rows": 4, "differing": 4})]
    assert json.loads((found.folder / "run.json").read_text())["alone"] == found.alone
    assert replies(found) == ["the first time"] * 9


def test_damaged_lines_are_told_and_their_rows_asked_again(tmp_path: Path) -> None:
    translate = pipeline("translation", "scripted")
    found = run(sentences(5), translate, tmp_path, alone=0)
    path = found.folder / "records.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Sentence 3.", b"Sentence 7."))
    damaged = load_run(found.folder)
    assert [record.row_id for record in damaged.records] == ["r0", "r1", "r2", "r4"]
    assert [(note.code, note.parameters["lines"]) for note in damaged.notes] == [("eval_records_damaged", 1)]
    assert replies(run(sentences(5), translate, tmp_path, alone=0)) == replies(found)


def test_shares_are_disjoint_and_together_the_whole(tmp_path: Path) -> None:
    benchmark, translate = sentences(23), pipeline("translation", "scripted")
    whole = run(benchmark, translate, tmp_path / "one")
    parts = [run(benchmark, translate, tmp_path / "three", shard=Shard(number, 3)) for number in (3, 1, 2)]
    assert [len(part.records) for part in parts] == [7, 15, 23]
    assert "costs" not in json.loads(json.dumps(parts[0].provenance))
    merged = parts[-1]
    assert replies(merged) == replies(whole)
    assert [record.row_id for record in merged.records] == [record.row_id for record in whole.records]
    assert merged.alone == whole.alone
    assert merged.identity == whole.identity
    assert len(lines(merged)) == 23
    assert run(benchmark, translate, tmp_path / "three") == merged  # one process finds nothing left


def test_a_server_that_goes_away_stops_the_run_and_another_start_goes_on(
    tmp_path: Path, server: FaultyServer, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_window", lambda device: 3)
    benchmark = questions([f"Question {place}?" for place in range(8)])
    server.answers = [*[echo] * 4, refuses(503, "down for maintenance")]
    remote = remote_engine(server, concurrency=1, retries=0)
    with pytest.raises(UnavailableError):
        run(benchmark, Pipeline(TASKS["dialogue"](), remote), tmp_path, alone=1)
    (folder,) = tmp_path.iterdir()
    assert [record.row_id for record in load_run(folder).records] == [f"Question {place}?" for place in range(4)]
    server.answers = [echo]
    monkeypatch.setattr(runner, "_today", lambda: "2999-01-01")
    found = run(benchmark, Pipeline(TASKS["dialogue"](), remote), tmp_path, alone=1)
    assert found.folder == folder  # an unfinished run goes on, whatever the day
    assert replies(found) == [row.id for row in benchmark.rows]
    assert found.costs["cpu_s"] is None  # what this process took says nothing of the server
    later = run(benchmark, Pipeline(TASKS["dialogue"](), remote), tmp_path, alone=1)
    assert later.folder != folder  # the model behind an address may be another one by then
    assert later.identity["date"] == "2999-01-01"
