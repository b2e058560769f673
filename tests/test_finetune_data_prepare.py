"""Raw rows in, a ledger whose sums close out; what goes wrong is one sentence, and nothing is written."""

import gzip
import json
import random
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.data import Ledger, Source, Split
from finetune.data import sources as sources_module
from finetune.data.prepare import prepare
from pipelines.errors import CinquainError, InputError
from tests.doubles.data_rows import (
    configured,
    content,
    counting_model,
    lines_of,
    plain_rows,
    planted,
    sentence_of,
    write_lines,
)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return counting_model(tmp_path_factory.mktemp("model"))


def test_every_row_is_accounted_for(model: Path, tmp_path: Path) -> None:
    path, out = write_lines(tmp_path / "rows.jsonl", planted()), tmp_path / "out"
    ledger = prepare(configured(model, path), out)
    assert ledger.problems() == []
    assert ledger.dropped() == {
        "read.not_json": 1,
        "read.not_object": 1,
        "read.not_unicode": 1,
        "recognise.columns": 1,
        "recognise.invalid": 1,
        "exact_duplicates.duplicate": 1,
        "near_duplicates.duplicate": 1,
    }
    changes = Counter({kind: n for step in ledger.steps.values() for kind, n in step.changes.items()})
    assert changes == {"mojibake": 1, "line_breaks": 1, "blank_space": 1, "email": 1}
    assert (ledger.read, ledger.kept) == (150, 143)
    rows = [row for name in ("train", "validation") for row in lines_of(out / f"{name}.jsonl")]
    rejected = lines_of(out / "rejected.jsonl")
    numbers = sorted(int(row["id"].rpartition(":")[2]) for row in [*rows, *rejected])
    assert numbers == list(range(1, 151))
    assert sum(row["tokens"] for row in rows) == ledger.tokens["after"]
    assert sum(ledger.lengths.values()) == sum(ledger.languages.values()) == len(rows)
    (twin,) = [row for row in rejected if row["step"] == "exact_duplicates"]
    assert (twin["id"], twin["details"]) == ("rows.jsonl:42", {"twin": "rows.jsonl:41"})
    everything = "".join(file.read_text() for file in out.glob("*.jsonl") if file.name != "redactions.jsonl")
    assert "anna.smith" not in everything
    assert "anna.smith" in (out / "redactions.jsonl").read_text()
    assert "river" not in (out / "ledger.json").read_text()  # no text of rows


def test_what_holds_texts_that_were_taken_out_is_private(model: Path, tmp_path: Path) -> None:
    path, out = write_lines(tmp_path / "rows.jsonl", planted()), tmp_path / "out"
    prepare(configured(model, path), out)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in out.iterdir()}
    private = {"rejected.jsonl", "redactions.jsonl", "samples.json", "ledger.html"}
    assert {name for name, mode in modes.items() if mode == 0o600} >= private
    assert not (out / ".cinquain-work").exists()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from(["good", "twin", "broken", "empty", "mail", "long", "columns"]), min_size=1),
    weight=st.sampled_from([0.4, 1.0, 2.5]),
    policy=st.sampled_from(["split", "drop"]),
    block=st.sampled_from([300, 100_000]),
)
def test_sums_close_for_any_rows(
    kinds: list[str], weight: float, policy: Any, block: int, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows: list[Any] = plain_rows(len(kinds))
    for place, kind in enumerate(kinds):
        if kind == "twin":
            rows[place] = rows[0] if isinstance(rows[0], dict) else {}
        elif kind == "mail":
            rows[place]["text"] += " x@example.com"
        elif kind == "long":
            rows[place]["text"] *= 20
        elif kind != "good":
            rows[place] = {"broken": b'{"', "empty": {"text": "", "summary": ""}, "columns": {"a": 1}}[kind]
    folder = tmp_path_factory.mktemp("sums")
    source = Source(path=str(write_lines(folder / "rows.jsonl", rows)), weight=weight)
    config = configured(model, source, too_long=policy, max_tokens=300, split=Split(validation=0.2, test=0.1))
    usable = any(isinstance(row, dict) and 0 < len(row.get("text", "")) < 1000 for row in rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources_module, "BLOCK_BYTES", block)
        if not usable:
            assert code_of(config, folder / "out") == "data_no_rows"
            assert not any((folder / "out").glob("*.jsonl"))
            return
        ledger = prepare(config, folder / "out", processes=1)
    assert ledger.problems() == []
    written = [row["id"] for name in ("train", "validation", "test") for row in saved(folder / "out", name)]
    assert len(set(written)) == len(written) == ledger.kept
    assert len(saved(folder / "out", "rejected")) == ledger.dropped().total()
    assert json.loads((folder / "out" / "ledger.json").read_bytes()) == json.loads(json.dumps(ledger.to_json()))


def saved(out: Path, name: str) -> list[Any]:
    path = out / f"{name}.jsonl"
    return lines_of(path) if path.exists() else []


def test_the_result_does_not_depend_on_processes_or_blocks(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(model, write_lines(tmp_path / "rows.jsonl", planted()))
    whole = prepare(config, tmp_path / "whole", processes=1)
    monkeypatch.setattr(sources_module, "BLOCK_BYTES", 4000)
    assert prepare(config, tmp_path / "cut", processes=1).result_sha256 == whole.result_sha256
    assert prepare(config, tmp_path / "many", processes=2).result_sha256 == whole.result_sha256
    assert content(tmp_path / "whole") == content(tmp_path / "cut") == content(tmp_path / "many")


def test_formats_that_are_copied_give_the_same_rows(model: Path, tmp_path: Path) -> None:
    rows = plain_rows(30)
    plain = write_lines(tmp_path / "rows.jsonl", rows)
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    value = tmp_path / "rows.json"
    value.write_text(json.dumps(rows))
    results = {
        prepare(configured(model, Source(path=str(path), name="rows")), tmp_path / f"out{path.suffix}").result_sha256
        for path in (plain, packed, value)
    }
    assert len(results) == 1


def test_over_long_rows_are_counted_before_anything_is_written(model: Path, tmp_path: Path) -> None:
    rows = plain_rows(40)
    for place in (3, 17, 30):
        rows[place]["text"] *= place
    path, out = write_lines(tmp_path / "rows.jsonl", rows), tmp_path / "out"
    with pytest.raises(InputError) as caught:
        prepare(configured(model, path, max_tokens=400), out)
    assert (caught.value.code, caught.value.parameters["rows"]) == ("data_too_long", 2)
    assert not [file for file in out.iterdir() if file.name != ".prepare.lock"][1:]
    longest = caught.value.parameters["longest"]
    assert prepare(configured(model, path, max_tokens=longest), out).kept == 40
    dropped = prepare(configured(model, path, max_tokens=400, too_long="drop"), tmp_path / "dropped")
    assert (dropped.kept, dropped.tokens["over_long"], dropped.tokens["eos_lost_share"]) == (38, 2, 0.05)
    assert dropped.tokens["before"] > dropped.tokens["after"]


@pytest.mark.parametrize("held_out_first", [True, False])
def test_test_rows_inside_train_are_taken_out_of_train(held_out_first: bool, model: Path, tmp_path: Path) -> None:
    rows = plain_rows(40)
    nearly = [{**row, "text": row["text"].replace(".", "!")} for row in rows[5:8]]
    train = Source(path=str(write_lines(tmp_path / "train.jsonl", rows)), use="train")
    held_out = write_lines(tmp_path / "test.jsonl", [*rows[:2], *nearly, *plain_rows(10, seed=1)])
    test = Source(path=str(held_out), use="test")
    order = [test, train] if held_out_first else [train, test]
    ledger = prepare(configured(model, *order), tmp_path / "out")
    assert ledger.dropped() == {"exact_duplicates.held_out": 2, "near_duplicates.held_out": 3}
    assert {name: split.rows for name, split in ledger.splits.items()} == {"train": 35, "validation": 0, "test": 15}
    rejected = {row["id"]: row["details"]["twin"] for row in lines_of(tmp_path / "out" / "rejected.jsonl")}
    assert rejected["train.jsonl:1"] == "test.jsonl:1"


def test_a_document_that_is_held_out_in_one_source_is_not_trained_on_in_another(model: Path, tmp_path: Path) -> None:
    rows = [{**row, "doc": f"page {place // 4}"} for place, row in enumerate(plain_rows(40))]
    train = Source(path=str(write_lines(tmp_path / "train.jsonl", rows[:36])), use="train", group="doc")
    test = Source(
        path=str(write_lines(tmp_path / "test.jsonl", [rows[36], {**rows[37], "doc": "page 3"}])),
        use="test",
        group="doc",
    )
    out = tmp_path / "out"
    ledger = prepare(configured(model, train, test), out)
    assert ledger.problems() == []
    assert ledger.dropped() == {"held_out_groups.group": 4}
    assert {name: split.rows for name, split in ledger.splits.items()} == {"train": 32, "validation": 0, "test": 2}
    assert [row["id"] for row in lines_of(out / "rejected.jsonl")] == [f"train.jsonl:{n}" for n in (13, 14, 15, 16)]


def test_repeated_rows_may_stay_but_never_on_both_sides(model: Path, tmp_path: Path) -> None:
    rows = plain_rows(30)
    train = Source(path=str(write_lines(tmp_path / "train.jsonl", [*rows, *rows[:5]])), use="train")
    test = Source(path=str(write_lines(tmp_path / "test.jsonl", rows[8:10])), use="test")
    config = configured(model, train, test, duplicates={"exact": False, "near": None})
    ledger = prepare(config, tmp_path / "out")
    assert ledger.dropped() == {"exact_duplicates.held_out": 2}
    assert ledger.splits["train"].rows == 33


def test_groups_stay_together_and_more_rows_move_none(model: Path, tmp_path: Path) -> None:
    rows = [{**row, "doc": f"d{place // 2}"} for place, row in enumerate(plain_rows(160))]
    split = Split(validation=0.3, test=0.2)
    groups = []
    for count in (80, 160):
        path = write_lines(tmp_path / "rows.jsonl", rows[:count])
        out = tmp_path / f"out{count}"
        ledger = prepare(configured(model, path, split=split), out)
        sides = {name: {row["group"] for row in saved(out, name)} for name in ("train", "validation", "test")}
        assert not sides["train"] & sides["validation"] | sides["train"] & sides["test"]
        assert all(ledger.splits[name].rows for name in sides)
        groups.append(sides)
    assert all(groups[0][name] <= groups[1][name] for name in groups[0])


def test_weights_repeat_and_thin_out_training_rows_only(model: Path, tmp_path: Path) -> None:
    often = Source(path=str(write_lines(tmp_path / "often.jsonl", plain_rows(80))), weight=2.5)
    seldom = Source(path=str(write_lines(tmp_path / "seldom.jsonl", plain_rows(80, seed=1))), weight=0.25)
    ledger = prepare(configured(model, often, seldom, split=Split(validation=0.2)), tmp_path / "out")
    kept = {source.name: source.kept for source in ledger.sources}
    assert 150 < kept["often.jsonl"] < 220
    assert 10 < kept["seldom.jsonl"] < 55
    assert ledger.steps["weights"].dropped["weight"] == len(lines_of(tmp_path / "out" / "rejected.jsonl"))
    validation = Counter(row["id"] for row in lines_of(tmp_path / "out" / "validation.jsonl"))
    assert not [name for name in validation if "#" in name]
    train = [row["id"] for row in lines_of(tmp_path / "out" / "train.jsonl")]
    assert len(set(train)) == len(train)
    assert {name.partition("#")[2] for name in train if name.startswith("often")} == {"", "2", "3"}


def test_a_finished_result_is_kept_and_another_one_refused(model: Path, tmp_path: Path) -> None:
    path, out = write_lines(tmp_path / "rows.jsonl", plain_rows(30)), tmp_path / "out"
    first = prepare(configured(model, path), out)
    before = (out / "ledger.json").stat().st_mtime_ns
    assert prepare(configured(model, path), out) == first
    assert (out / "ledger.json").stat().st_mtime_ns == before
    other = configured(model, path, split=Split(validation=0.0, test=0.5))
    assert code_of(other, out) == "data_other_result"
    assert content(out)["ledger.json"]["result_sha256"] == first.result_sha256
    second = prepare(other, out, overwrite=True)
    assert second.result_sha256 != first.result_sha256
    assert not (out / "validation.jsonl").exists()  # of the first result
    with (out / "train.jsonl").open("a") as file:
        file.write("{}\n")
    assert code_of(other, out) == "data_result_edited"
    (out / "ledger.json").unlink()
    assert code_of(other, out) == "data_foreign_files"
    (out / "ledger.json").write_text("{")
    assert code_of(other, out) == "data_ledger_format"
    assert prepare(other, out, overwrite=True).result_sha256 == second.result_sha256
    moved = (tmp_path / "rows.jsonl").rename(tmp_path / "elsewhere.jsonl")
    named = Source(path=str(moved), name="rows.jsonl")
    prepare(configured(model, named, split=other.split), out)  # the same rows from another place


def code_of(config: Any, out: Path) -> str:
    with pytest.raises(CinquainError) as caught:
        prepare(config, out, processes=1)
    assert "\n" not in str(caught.value)
    return caught.value.code


def test_two_at_once_on_one_folder(model: Path, tmp_path: Path) -> None:
    config, out = configured(model, write_lines(tmp_path / "rows.jsonl", plain_rows(3))), tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".prepare.lock"):
        assert code_of(config, out) == "data_in_use"
    assert isinstance(prepare(config, out), Ledger)


def test_bad_input_is_one_sentence(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    strange = write_lines(tmp_path / "strange.jsonl", [{"a": 1, "b": 2}] * 3)
    with pytest.raises(InputError, match=r"None of the 3 records .* recognise.columns .*'a', 'b'"):
        prepare(configured(model, strange), out)
    blank = tmp_path / "blank.jsonl"
    blank.write_text("\n\n\n")
    assert code_of(configured(model, blank), out) == "data_no_records"
    rows = write_lines(tmp_path / "rows.jsonl", plain_rows(3))
    assert code_of(configured(model, rows, split=Split(validation=0.6, test=0.4)), out) == "data_split_all"
    assert code_of(configured(Path("scripted"), rows), out) == "rendering_no_tokenizer"
    assert code_of(configured(model, rows), rows) == "disk_permission"
    assert not any(out.glob("*.json*"))


def test_one_row_is_enough(model: Path, tmp_path: Path) -> None:
    draw_free = {"text": "A river under a tree.", "summary": "A river."}
    ledger = prepare(configured(model, write_lines(tmp_path / "one.jsonl", [draw_free])), tmp_path / "out")
    assert (ledger.read, ledger.kept) == (1, 1)


def test_texts_that_no_terminal_survives(model: Path, tmp_path: Path) -> None:
    large = " ".join(sentence_of(random.Random(place)) for place in range(12_000))
    assert len(large) > 1_000_000
    rows = [
        {"text": large, "summary": "long"},
        {"text": "nul \x00 and escape \x1b[31m in a text", "summary": "plain"},
        b'{"text": "half \\ud800 a pair", "summary": "x"}',
        {"text": "<script>alert(1)</script> is a text", "summary": "</pre><img src=x onerror=alert(1)>"},
    ]
    config = configured(model, write_lines(tmp_path / "rows.jsonl", rows), too_long="drop", split=Split(validation=0))
    ledger = prepare(config, tmp_path / "out")
    assert ledger.dropped() == {"too_long.too_long": 1, "recognise.not_unicode": 1}
    assert [row["id"].partition(":")[2] for row in lines_of(tmp_path / "out" / "train.jsonl")] == ["2", "4"]
    assert "\x00" not in (tmp_path / "out" / "train.jsonl").read_text()
    assert (tmp_path / "out" / "ledger.html").stat().st_size < 100_000
