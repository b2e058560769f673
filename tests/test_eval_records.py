"""Records: what was appended is there, whatever happened to the file since; two writers never ask the same rows."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from eval.costs import summary
from eval.records import RecordFile, Shard, begin_run, held, load_run
from pipelines import CinquainError, InputError

texts = st.text(st.characters(), max_size=30) | st.sampled_from(["\ud800", '", "crc32": 5}', "\n", "\u2028", "\x00"])
entries = st.lists(st.fixed_dictionaries({"reply": texts, "seconds": st.floats(0, 9), "n": st.integers()}), max_size=6)


@given(first=entries, second=entries, cut=st.integers(0, 3000))
def test_wherever_the_file_is_torn_whole_lines_stay_and_new_ones_follow(
    first: list[dict[str, Any]], second: list[dict[str, Any]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = RecordFile(tmp_path_factory.mktemp("torn") / "records.jsonl")
    file.append(first)
    data = file.path.read_bytes()
    kept = data[: cut % (len(data) + 1)]
    file.path.write_bytes(kept)
    whole = first[: kept.count(b"\n")]
    assert file.read() == (whole, 0)
    assert file.path.read_bytes() == kept  # a reader changes nothing: the writer may be at work
    file.mend()
    file.append(second)
    assert file.read() == (whole + second, 0)


@given(found=entries.filter(bool), place=st.integers(0, 3000), byte=st.integers(0, 255))
def test_a_damaged_line_is_no_record_and_the_others_are(
    found: list[dict[str, Any]], place: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = RecordFile(tmp_path_factory.mktemp("damaged") / "records.jsonl")
    file.append(found)
    data = bytearray(file.path.read_bytes())
    place %= len(data)
    same = data[place] == byte
    data[place] = byte
    file.path.write_bytes(data)
    line = bytes(data[:place]).count(b"\n")
    read, damaged = file.read()
    if same:
        assert (read, damaged) == (found, 0)
    else:  # a line break more, or less, makes two lines of one or one of two
        assert read[:line] == found[:line]
        assert all(entry in found for entry in read)
        assert len(found) - 2 <= len(read) < len(found)
        assert damaged or line == len(found) - 1  # without its line break the last one is a torn one


def test_records_are_private_and_plain_lines_of_json(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "records.jsonl")
    file.append([{"reply": "今天 🙂", "where": tmp_path, 3: [1, None]}])
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    (line,) = file.path.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["reply"] == "今天 🙂"
    assert file.read()[0] == [{"reply": "今天 🙂", "where": str(tmp_path), "3": [1, None]}]


def test_a_second_writer_is_refused_and_one_with_another_share_is_not(tmp_path: Path) -> None:
    with held(tmp_path / "run", Shard(1, 2)):
        for shard in (Shard(1, 2), Shard(), Shard(2, 3)):
            with pytest.raises(CinquainError, match="Another process") as raised, held(tmp_path / "run", shard):
                pass
            assert raised.value.code == "eval_in_use"
        with held(tmp_path / "run", Shard(2, 2)):
            pass
    with held(tmp_path / "run", Shard()):  # locks that nobody holds any more hinder nobody
        assert FileLock(tmp_path / "run" / ".records.lock").is_locked is False


def test_a_folder_without_a_run_and_one_of_another_identity_are_told(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    for content in (None, "{", "[]", '{"schema_version": 99, "identity": {}}'):
        if content is not None:
            (tmp_path / "broken" / "run.json").write_text(content)
        with pytest.raises(InputError) as raised:
            load_run(tmp_path / "broken")
        assert raised.value.code == ("eval_run_newer" if content and "99" in content else "eval_no_run")
    description = {
        **{"benchmark": "b", "version": 1, "benchmark_sha256": "0", "task": "dialogue", "provenance": {}},
        **{"identity": {"weights_sha256": "1"}, "row_ids": ["a"]},
    }
    begin_run(tmp_path / "run", description)
    begin_run(tmp_path / "run", {**description, "provenance": {"date": "later"}})
    assert load_run(tmp_path / "run").provenance == {}
    with pytest.raises(InputError) as raised:
        begin_run(tmp_path / "run", {**description, "identity": {"weights_sha256": "2"}})
    assert raised.value.code == "eval_other_run"


def test_costs_add_up_over_windows_and_take_the_slowest_process() -> None:
    window = {"prompt_tokens": 5, "completion_tokens": 10, "wall_s": 1.0, "cpu_s": 2.0, "peak_memory": 7}
    known = {**window, "peak_gpu_memory": None, "joules": None}
    found = summary([("a", known), ("a", known), ("b", {**known, "peak_memory": 9})], [3.0, 1.0, 2.0], [])
    assert found["tokens_per_s"] == 15.0
    assert (found["prompt_tokens"], found["wall_s"], found["cpu_s"], found["peak_memory"]) == (15, 2.0, 6.0, 9)
    assert (found["p50_s"], found["p95_s"], found["alone_s"], found["joules"]) == (2.0, 3.0, None, None)
    part = summary([("a", {**known, "joules": 3.0}), ("a", known)], [], [0.5])
    assert (part["joules"], part["p50_s"], part["alone_s"]) == (None, None, 0.5)  # a part unknown, the sum is unknown
    assert summary([], [], [])["tokens_per_s"] is None


@pytest.mark.parametrize(("count", "median", "high"), [(1, 1, 1), (2, 1, 2), (20, 10, 19), (21, 11, 20), (100, 50, 95)])
def test_quantiles_are_values_that_occurred(count: int, median: int, high: int) -> None:
    found = summary([], [float(value) for value in range(count, 0, -1)], [])
    assert (found["p50_s"], found["p95_s"]) == (median, high)
