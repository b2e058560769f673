"""Every record of a source comes back once and in order, whatever it lies in; what cannot be read is one sentence."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.data import Source
from finetune.data import sources as sources_module
from finetune.data.records import LONGEST_RECORD, Record
from finetune.data.sources import open_sources, read
from pipelines.errors import CinquainError, InputError
from pipelines.tasks import TASKS
from tests.doubles.data_rows import plain_rows, write_lines

FORMATS = ("jsonl", "jsonl.gz", "jsonl.xz", "json", "json.bz2", "csv", "tsv", "csv.gz", "parquet")
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}

# What CSV cannot hold is a text of no cells at all in a table of one column, so there are always two columns.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TABLES = st.lists(st.fixed_dictionaries({"text": TEXTS.map("t{}".format), "summary": TEXTS}), min_size=1, max_size=30)


def written(rows: list[dict[str, Any]], path: Path) -> Path:
    """The rows as a file of the format that the path's ending names."""
    kind, _, packed = path.name.partition(".")[2].partition(".")
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=3)
        return path
    if kind in ("csv", "tsv"):
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), delimiter="," if kind == "csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
        data = text.getvalue().encode()
    elif kind == "json":
        data = json.dumps(rows, ensure_ascii=False).encode()
    else:
        data = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
    path.write_bytes(PACKERS[packed](data) if packed else data)
    return path


def records_of(source: Source | Path, spool: Path) -> list[Record]:
    """What comes of a source by blocks, which is what comes of it in one go."""
    (opened,) = open_sources([source if isinstance(source, Source) else Source(path=str(source))])
    found = [record for block in opened.blocks(spool) for record in read(block)]
    assert found == list(opened.records())
    return found


def code_of(source: Source | Path, spool: Path) -> str:
    with pytest.raises(CinquainError) as caught:
        records_of(source, spool)
    assert "\n" not in str(caught.value)
    return caught.value.code


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=TABLES,
    kind=st.sampled_from(FORMATS),
    block=st.sampled_from([1, 50, 333, 8_000_000]),
    records=st.integers(1, 9),
)
def test_rows_of_any_format_come_back_equal_and_in_order(
    rows: list[dict[str, Any]], kind: str, block: int, records: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    path = written(rows, folder / f"rows.{kind}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources_module, "BLOCK_BYTES", block)
        patch.setattr(sources_module, "_BLOCK_RECORDS", records)
        found = records_of(path, folder / "spool")
        assert [record.data for record in found] == rows
        assert [record.id for record in found] == [f"{path.name}:{number}" for number in range(1, len(rows) + 1)]
        few = records_of(Source(path=str(path), limit=records), folder / "few")
    assert few == found[:records]


LINES = st.lists(
    st.one_of(
        st.sampled_from([b"", b"  ", b"\r", b'{"a": 1}\r', b"\xef\xbb\xbf", b'\xef\xbb\xbf{"a": 1}', b"[1]", b"null"]),
        st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")),
        st.dictionaries(TEXTS, TEXTS, max_size=3).map(lambda row: json.dumps(row).encode()),
    )
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines=LINES, block=st.integers(1, 60), ended=st.booleans())
def test_no_line_is_lost_or_doubled_between_blocks(
    lines: list[bytes], block: int, ended: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    path.write_bytes(b"x\n" + b"\n".join(lines) + (b"\n" if ended else b""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources_module, "BLOCK_BYTES", block)
        found = records_of(path, path.parent)
    filled = [number for number, line in enumerate([b"x", *lines], 1) if line.decode("utf-8-sig", "replace").strip()]
    assert [int(record.id.rpartition(":")[2]) for record in found] == filled
    assert all(record.problem for record in found if record.data is None)


def test_what_a_line_may_be_and_is_not(tmp_path: Path) -> None:
    deep: Any = "x"
    for _ in range(98):
        deep = [deep]
    huge = "1" * 5000
    lines: list[Any] = [
        {"text": deep},
        {"text": [deep]},
        b"[" * 100_000,
        b'{"text": ' + b"[" * 100_000,
        b'{"text": NaN}',
        b'{"text": -Infinity}',
        b'{"text": ' + huge.encode() + b"}",
        {"text": 10**400},
        b'{"text": "a", "meta": {"k": 1, "k": 2}}',
        b'{"text": "\\ud800"}',
        b'{"text": "a\x00b"}',
        {"text": "a\x00b"},
        {"text": "x" * (LONGEST_RECORD // 2)},
        b'{"text": "' + b"y" * 20_000_000 + b'"}',
        b'{"text": "\xff"}',
        {"text": "last"},
    ]
    found = records_of(write_lines(tmp_path / "rows.jsonl", lines), tmp_path / "spool")
    assert [record.problem for record in found] == [
        "", "too_deep", "not_json", "not_json", "not_json", "not_json", "not_json", "", "key_twice", "", "not_json", "",
        "", "too_large", "not_unicode", "",
    ]  # fmt: skip
    assert found[8].details["key"] == "k"
    assert all(len(json.dumps(record.details)) < 1000 for record in found)
    # The same as a JSON value, where it can be one, and through the copies of a packed file.
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "rows.jsonl").read_bytes(), 1))
    again = records_of(Source(path=str(packed), name="rows.jsonl"), tmp_path / "spool")
    assert again == found
    usable = [
        line for line, record in zip(lines, found, strict=True) if record.problem in ("", "too_deep", "key_twice")
    ]
    value = b",".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in usable)
    (tmp_path / "rows.json").write_bytes(b"[" + value + b"]")
    problems = [record.problem for record in records_of(tmp_path / "rows.json", tmp_path / "value")]
    assert problems == [record.problem for record in found if record.problem in ("", "too_deep", "key_twice")]


def test_sources_that_are_no_file(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nothing")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "empty.csv.gz").write_bytes(gzip.compress(b""))
    rows = write_lines(tmp_path / "rows.jsonl", plain_rows(2))
    expected = {
        tmp_path: "data_is_folder",
        tmp_path / "pipe.jsonl": "data_no_file",
        Path("/dev/zero"): "data_no_file",
        tmp_path / "gone.jsonl": "data_not_found",
        rows / "below.jsonl": "data_not_found",
        tmp_path / "nul\x00.jsonl": "data_not_found",
        tmp_path / ("n" * 300): "data_unreadable",
        Path("/proc/self/mem.jsonl").with_suffix(""): "data_format_unknown",
        tmp_path / "empty.jsonl": "data_no_records",
        tmp_path / "empty.csv.gz": "data_no_records",
    }
    assert {path: code_of(path, spool) for path in expected} == expected
    assert code_of(Source(path="/proc/self/mem", format="jsonl"), spool) == "data_unreadable"
    assert code_of(Source(path=str(rows), encoding="utf-99"), spool) == "data_encoding_unknown"
    assert code_of(Source(path=str(rows), encoding="rot13"), spool) == "data_encoding_unknown"
    with pytest.raises(InputError) as caught:
        open_sources([Source(path=str(rows)), Source(path=str(rows))])
    assert caught.value.code == "data_name_twice"
    assert len(open_sources([Source(path=str(rows)), Source(path=str(rows), name="again")])) == 2


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, who may read everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", plain_rows(2))
    path.chmod(0)
    with nobody():
        assert code_of(path, tmp_path / "spool") == "data_unreadable"


@pytest.mark.parametrize(
    ("name", "beginning", "code"),
    [
        ("table.csv", b"PK\x03\x04" + bytes(range(256)), "data_binary"),
        ("rows.jsonl", gzip.compress(b"{}", mtime=0), "data_binary"),
        ("rows.json", b"%PDF-1.7\n", "data_binary"),
        ("text.txt", b"\x89PNG\r\n\x1a\n", "data_binary"),
        ("rows.csv", b"PAR1rest", "data_binary"),
        ("rows.zip", b"PK\x03\x04", "data_zip"),
        ("rows.jsonl.zip", b"PK\x03\x04", "data_zip"),
        ("rows.tar.gz", gzip.compress(b"x", mtime=0), "data_zip"),
        ("rows.xlsx", b"PK\x03\x04", "data_format_unknown"),
        ("rows", b"{}", "data_format_unknown"),
    ],
)
def test_what_a_file_is_not(name: str, beginning: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(beginning)
    assert code_of(tmp_path / name, tmp_path / "spool") == code


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "jsonl.gz"])
@pytest.mark.parametrize("size_stays", [True, False])
def test_a_file_that_changes_meanwhile_is_noticed(kind: str, size_stays: bool, tmp_path: Path) -> None:
    path = written(plain_rows(30), tmp_path / f"rows.{kind}")
    (opened,) = open_sources([Source(path=str(path))])
    before = path.read_bytes()
    about = path.stat()
    path.write_bytes(before if size_stays else before[:-9])
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 5_000_000))
    with pytest.raises(InputError) as caught:
        list(map(list, map(read, opened.blocks(tmp_path / "spool"))))
    assert caught.value.code in ("data_changed", "data_parquet", "data_packed_broken")
    assert not list((tmp_path / "spool").glob("*.jsonl"))


def test_a_file_that_changes_while_a_block_is_read(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", plain_rows(30))
    (opened,) = open_sources([Source(path=str(path))])
    (block,) = opened.blocks(tmp_path)
    records = read(block)
    next(records)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError) as caught:
        list(records)
    assert caught.value.code == "data_changed"


def test_copies_are_made_once_and_privately(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "BLOCK_BYTES", 2000)
    path = written(plain_rows(50), tmp_path / "rows.csv")
    first = records_of(path, tmp_path / "spool")
    copies = sorted((tmp_path / "spool").iterdir())
    assert len(copies) > 3
    assert {copy.stat().st_mode & 0o777 for copy in copies} == {0o600}
    before = [copy.stat().st_mtime_ns for copy in copies]
    copies[1].unlink()
    assert records_of(path, tmp_path / "spool") == first
    assert [copy.stat().st_mtime_ns == old for copy, old in zip(copies, before, strict=True)].count(False) == 1


def test_a_block_of_copies_is_bounded_by_all_that_is_in_its_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources_module, "BLOCK_BYTES", 10_000)
    rows = [{"messages": [{"role": "user", "content": "x" * 4000}]} for _ in range(20)]
    path = written(rows, tmp_path / "rows.json")
    (opened,) = open_sources([Source(path=str(path))])
    assert len(list(opened.blocks(tmp_path / "spool"))) == 7


def test_training_sets_that_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.data import opening

    monkeypatch.setattr(opening, "__file__", str(tmp_path / "opening.py"))
    (tmp_path / "shipped").mkdir()
    for task in TASKS:
        write_lines(tmp_path / "shipped" / f"{task}.jsonl", [{"brief": "x", "reply": "y"}])
        (opened,) = open_sources([Source(path=f"shipped:{task}")])
        assert (opened.name, opened.source.path, opened.format) == (f"shipped:{task}", f"shipped:{task}", "jsonl")
        assert [record.id for record in opened.records()] == [f"shipped:{task}:1"]
    with pytest.raises(InputError, match="Did you mean: dialogue") as caught:
        open_sources([Source(path="shipped:dialog")])
    assert caught.value.code == "data_shipped_unknown"
    assert code_of(Source(path="shipped:../records"), tmp_path / "spool") == "data_shipped_unknown"


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_lines(tmp_path / "rows.jsonl", [{"a": 1}])
    assert [record.data for record in records_of(Source(path="~/rows.jsonl"), tmp_path / "spool")] == [{"a": 1}]
