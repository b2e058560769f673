"""JSON, CSV, Parquet and text as people and programs write them; nothing in them is lost or guessed in silence."""

import bz2
import datetime
import decimal
import gzip
import json
import lzma
import tempfile
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from finetune.data import Source, packed, parquet
from finetune.data import records as records_module
from finetune.data.records import Record
from finetune.data.sources import open_sources, read
from finetune.data.tables import find_delimiter
from finetune.data.text_encoding import GUESSED, find_encoding
from pipelines.errors import InputError
from tests.doubles.data_rows import plain_rows

ROWS: list[dict[str, Any]] = [
    {"text": "first, longer", "summary": "ein „Satz“"},
    {"text": "second", "summary": "zwei\nZeilen"},
]


def records(path: Path, data: bytes | str, **more: Any) -> list[Record]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    (opened,) = open_sources([Source(path=str(path), **more)])
    spool = Path(tempfile.mkdtemp(dir=path.parent))
    return [record for block in opened.blocks(spool) for record in read(block)]


def rows(path: Path, data: bytes | str, **more: Any) -> list[Any]:
    found = records(path, data, **more)
    assert [record.problem for record in found] == [""] * len(found)
    return [record.data for record in found]


def refused(path: Path, data: bytes | str, **more: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        records(path, data, **more)
    assert "\n" not in str(caught.value)
    return caught.value


# JSON


def test_values_of_json_that_hold_records(tmp_path: Path) -> None:
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    by_number = {name: {str(place): row[name] for place, row in enumerate(ROWS)} for name in ROWS[0]}
    for value in (
        ROWS,
        {"version": 2, "data": ROWS},
        columns,
        by_number,
        {str(place): row for place, row in enumerate(ROWS)},
    ):
        assert rows(tmp_path / "rows.json", json.dumps(value, indent=1)) == ROWS
    for one in (ROWS[0], {"messages": [{"role": "user"}]}, {"conversations": [{"from": "human"}]}, {"a": {}, "b": {}}):
        assert rows(tmp_path / "rows.json", json.dumps(one)) == [one]
    both = {"train": ROWS, "test": ROWS}
    assert rows(tmp_path / "rows.json", json.dumps(both)) == [both]  # which of them is meant is not ours to say
    assert [record.problem for record in records(tmp_path / "rows.json", "[1, null, [], {}]")] == ["not_object"] * 3 + [
        ""
    ]
    assert refused(tmp_path / "rows.json", "[]").code == "data_no_records"


def test_lines_in_a_file_named_json(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    assert rows(tmp_path / "rows.json", lines) == ROWS
    assert rows(tmp_path / "rows.json.gz", gzip.compress(("\ufeff\n" + lines).encode())) == ROWS
    assert refused(tmp_path / "rows.json", lines, format="json").code == "data_json"
    assert refused(tmp_path / "rows.json", json.dumps(ROWS)[:-5]).code == "data_json"
    assert refused(tmp_path / "rows.json", "[" * 100_000).code == "data_json"


def test_what_python_would_lose_of_json_is_not_lost(tmp_path: Path) -> None:
    found = records(
        tmp_path / "rows.json",
        '[{"a": 1, "a": 2}, {"a": [{"b": 1, "b": 1}]}, {"a": NaN}, {"a": 1e999}, {"a": "\\ud800"}]',
    )
    assert [record.problem for record in found] == ["key_twice", "key_twice", "not_json", "not_json", ""]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "gb18030"])
def test_json_in_other_encodings(encoding: str, tmp_path: Path) -> None:
    text = "语言模型可以翻译、总结、对话、写代码和写诗，这里只是一个例子。"
    data = json.dumps([{"text": text}], ensure_ascii=False).encode(encoding)
    assert rows(tmp_path / "rows.json", data, encoding=encoding) == [{"text": text}]
    if encoding != "utf-16-le":  # Chinese without a mark has nothing that tells UTF-16
        assert rows(tmp_path / "rows.json", data) == [{"text": text}]
    lines = "".join(json.dumps({"text": text, "n": n}, ensure_ascii=False) + "\r\n" for n in range(3)).encode(encoding)
    found = rows(tmp_path / "rows.jsonl", lines, encoding=encoding)
    assert found == [{"text": text, "n": n} for n in range(3)]


def test_lines_that_windows_redirected(tmp_path: Path) -> None:
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\r\n"
    assert rows(tmp_path / "rows.jsonl", text.encode("utf-16")) == ROWS
    assert rows(tmp_path / "rows.jsonl", b"\xef\xbb\xbf" + text.encode()) == ROWS


# CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_delimiters_and_encodings_are_found_out(delimiter: str, encoding: str, tmp_path: Path) -> None:
    head = delimiter.join(["text", "summary", "number"])
    body = [delimiter.join(['"Où est, là; le\r\n""café""|\tdéjà fermé ?"', "fermé à l'été", str(n)]) for n in range(20)]
    found = records(tmp_path / "rows.csv", "\r\n".join([head, *body]).encode(encoding))
    texts = 'Où est, là; le\r\n"café"|\tdéjà fermé ?', "fermé à l'été"
    assert [record.data for record in found] == [
        dict(zip(["text", "summary", "number"], [*texts, str(n)], strict=True)) for n in range(20)
    ]
    guessed = encoding in ("utf-16-le", "utf-16-be", "cp1252")
    assert {record.remarks for record in found} == {(GUESSED,) if guessed else ()}


def test_chinese_as_excel_saves_it(tmp_path: Path) -> None:
    text = "标题,摘要\n" + "北京今天下了入冬以来的第一场雪，很多人到公园里拍照。,初雪\n".replace("，", "；") * 30
    found = records(tmp_path / "rows.csv", text.encode("gb18030"))
    assert len(found) == 30
    assert found[0].data == {"标题": "北京今天下了入冬以来的第一场雪；很多人到公园里拍照。", "摘要": "初雪"}
    assert found[0].remarks == (GUESSED,)
    error = refused(tmp_path / "rows.csv", text.encode("gb18030"), encoding="utf-8")
    assert error.code == "data_encoding"


def test_an_encoding_that_ends_halfway(tmp_path: Path) -> None:
    data = b"text,summary\n" + b"plain,%s\n" % (b"row" * 1000) * 400 + "é,x\n".encode("latin-1")
    error = refused(tmp_path / "rows.csv", data)
    assert (error.code, error.parameters["found"][:2]) == ("data_encoding", "e9")


def test_rows_that_are_no_rows_are_rejected_one_by_one(tmp_path: Path) -> None:
    data = 'a,b\n1,2\n\n3\n4,5,6\n"x"y,7\n,\n"nul\x00",8\nlast,9'
    found = records(tmp_path / "rows.csv", data)
    assert [record.problem for record in found] == ["", "cells", "cells", "quotes", "", "", ""]
    assert [record.details.get("line") for record in found] == [None, 4, 5, 6, None, None, None]
    assert [record.data for record in found if record.data] == [
        {"a": "1", "b": "2"}, {"a": "", "b": ""}, {"a": "nul\x00", "b": "8"}, {"a": "last", "b": "9"},
    ]  # fmt: skip


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    error = refused(path, 'a,b\n1,2\n3,"never closed\n4,5\n6,7\n')
    assert (error.code, error.parameters["line"]) == ("data_csv", 3)
    assert refused(path, "a,b,a\n1,2,3\n").code == "data_columns_twice"
    for nothing in ("\n\n", "a,b\n", "\ufeff"):
        assert refused(path, nothing).code == "data_no_records"
    assert refused(path, bytes(range(128, 256)) * 9).code in ("data_binary", "data_no_records")
    assert rows(path, "\n\na,,\n1,,3\n") == [{"a": "1", "column_2": "", "column_3": "3"}]
    assert rows(path, "text\nno comma here\n") == [{"text": "no comma here"}]
    assert rows(tmp_path / "rows.tsv", "a,b\tc\n1,2\t3\n") == [{"a,b": "1,2", "c": "3"}]
    assert rows(path, "a;b\n1,5;2,5\n", delimiter=";") == [{"a": "1,5", "b": "2,5"}]


def test_a_long_cell(tmp_path: Path) -> None:
    long = "word " * 300_000
    assert rows(tmp_path / "rows.csv", f'text,summary\n"{long}",x\n') == [{"text": long, "summary": "x"}]
    error = refused(tmp_path / "rows.csv", "text,summary\n" + "x" * 17_000_000 + ",y\n")
    assert error.code == "data_csv"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Le café est fermé, où êtes-vous ? – À l’été", "cp1252"),
        ("Größe ändern, übermäßig schöne Straßen", "cp1252"),
        ("¿Dónde está el niño? Mañana será otro día", "cp1252"),
        ("Zażółć gęślą jaźń, w Szczebrzeszynie chrząszcz brzmi", "cp1250"),
        ("Привет, это строка на русском языке", "cp1251"),
        ("Καλημέρα σας, αυτό είναι ένα κείμενο", "cp1253"),
        ("标题,摘要 你好世界,问候", "gb18030"),
        ("北京今天下了入冬以來的第一場雪，很多人到公園裡拍照。", "big5"),
        ("これは日本語の文章です。東京は今日も晴れです。", "cp932"),
        ("이것은 한국어 문장입니다. 서울은 오늘도 맑습니다.", "cp949"),
    ],
)
def test_older_encodings_are_guessed_and_it_is_said(text: str, encoding: str) -> None:
    found, sure = find_encoding(text.encode(encoding), Path("x"))
    assert not sure
    assert text.encode(encoding).decode(found) == text


@pytest.mark.parametrize("cut", range(5))
def test_a_sample_may_end_within_a_character(cut: int) -> None:
    data = ("é语😀" * 1000).encode()
    assert find_encoding(data[: len(data) - cut], Path("x")) == ("utf-8", True)


def test_a_delimiter_is_the_one_that_divides_evenly() -> None:
    assert find_delimiter("a;b\none, two, three;x\nfour;y\n") == ";"
    assert find_delimiter("a|b\none, two|x\nfour|y\n") == "|"
    assert find_delimiter("text\nHello, world\nGood; morning\n") == ","


# Parquet


def table(path: Path, columns: dict[str, Any], **options: Any) -> list[Record]:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return records(path, path.read_bytes())


def test_values_of_any_type_of_parquet(tmp_path: Path) -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    columns = {
        "text": ["a", None],
        "bytes": pyarrow.array(["é".encode(), b"\xff\x00"], pyarrow.binary()),
        "day": [moment.date(), None],
        "moment": pyarrow.array([moment, None], pyarrow.timestamp("ns", "UTC")),
        "price": pyarrow.array([decimal.Decimal("1.10"), None]),
        "number": [float("nan"), float("inf")],
        "large": [2**62, -1],
        "turns": [[{"role": "user", "content": "hi"}], []],
        "map": pyarrow.array([[("k", 1)], None], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
        "kind": pyarrow.array(["x", "y"]).dictionary_encode(),
        "yes": [True, False],
        "nothing": pyarrow.nulls(2),
    }
    first, second = table(tmp_path / "rows.parquet", columns)
    assert first.data == {
        "text": "a", "bytes": "é", "day": "2026-01-02", "moment": "2026-01-02T03:04:05+00:00", "price": "1.10",
        "number": None, "large": 2**62, "turns": [{"role": "user", "content": "hi"}], "map": [["k", 1]], "kind": "x",
        "yes": True, "nothing": None,
    }  # fmt: skip
    assert second.data is not None
    assert (second.data["bytes"], second.data["number"]) == ({"base64": "/wA="}, "inf")
    json.dumps([first.data, second.data], allow_nan=False)


def test_rows_of_parquet_that_cannot_be_read_are_rejected(tmp_path: Path) -> None:
    bad = pyarrow.Array.from_buffers(
        pyarrow.string(), 2, [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0\3\0\0\0"), pyarrow.py_buffer(b"\xff\xfeb")]
    )
    found = table(tmp_path / "rows.parquet", {"text": bad})
    assert [(record.problem, record.data) for record in found] == [("not_unicode", None), ("", {"text": "b"})]
    far = pyarrow.array([0, 10**15], pyarrow.timestamp("ms"))  # the second one is in the year 33658
    found = table(tmp_path / "far.parquet", {"text": ["a", "b"], "moment": far})
    assert [record.problem for record in found] == ["", "value"]


def test_broken_files_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    table(path, {"text": [str(n) * 50 for n in range(5000)]}, compression="gzip")
    whole = path.read_bytes()
    for data in (whole[:-10], whole[:2000], b"no parquet at all", whole[:100] + bytes(5000) + whole[5100:]):
        error = refused(path, data)
        assert error.code == "data_parquet"
        assert len(str(error)) < 500
    assert refused(path, whole_of({"text": pyarrow.nulls(0, pyarrow.string())}, path)).code == "data_no_records"
    twice = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
    pyarrow.parquet.write_table(twice, path)
    assert refused(path, path.read_bytes()).code == "data_columns_twice"


def test_a_small_file_of_parquet_that_holds_a_long_text_a_thousand_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "_FREE", 10_000_000)
    same = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 1000, pyarrow.int32()), ["x" * 1_000_000])
    data = whole_of({"text": same}, tmp_path / "rows.parquet")
    assert len(data) < 100_000
    assert refused(tmp_path / "rows.parquet", data).code == "data_bomb"


def whole_of(columns: dict[str, Any], path: Path) -> bytes:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path.read_bytes()


def test_no_more_rows_of_parquet_are_read_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_BATCH", 7)
    found = table(tmp_path / "rows.parquet", {"n": list(range(100))}, row_group_size=30)
    assert [record.data for record in found] == [{"n": n} for n in range(100)]


# Plain text


def test_paragraphs_of_plain_text(tmp_path: Path) -> None:
    text = "\r\nOne\r\ntwo\r\n \r\n\r\nthree\rfour\n\n\u3000\nlast"
    for encoding in ("utf-8", "utf-16", "utf-8-sig"):
        found = [row["text"] for row in rows(tmp_path / "rows.txt", text.encode(encoding))]
        assert found == ["One\r\ntwo", "three\rfour", "last"]
    assert refused(tmp_path / "rows.txt", " \n\n").code == "data_no_records"


def test_a_text_that_never_ends_is_rejected_and_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.data import formats

    monkeypatch.setattr(formats, "LONGEST_RECORD", 1000)
    found = records(tmp_path / "rows.txt", "short\n\n" + "x" * 5000 + "\n\n" + "y\n" * 900 + "\n" + "z" * 999)
    assert [record.problem for record in found] == ["", "too_large", "too_large", ""]
    assert found[3].id.endswith(":4")


# Packed files


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_packed_files_that_are_broken_or_bombs(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[kind]
    monkeypatch.setattr(packed, "_FREE", 1_000_000)
    path = tmp_path / f"rows.jsonl.{kind}"
    plain = "".join(json.dumps(row) + "\n" for row in plain_rows(300)).encode()
    whole = pack(plain)
    assert len(rows(path, whole)) == 300
    middle = len(whole) // 2
    for data in (whole[:-9], whole[:middle], whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]):
        assert refused(path, data).code == "data_packed_broken"
    assert refused(path, b"{}").code == "data_packed_broken"
    assert refused(path, pack(b" " * 20_000_000)).code == "data_bomb"
    assert refused(path, pack(b'{"text": "' + b"x" * 20_000_000)).code == "data_bomb"
    assert refused(tmp_path / f"rows.csv.{kind}", pack(b"a,b\n" + b"1,%s\n" % (b"2" * 4000) * 5000)).code == "data_bomb"


def test_the_largest_json_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.data import formats

    monkeypatch.setattr(formats, "_LARGEST_JSON", 1_000_000)
    assert refused(tmp_path / "rows.json", '["' + "x" * 1_000_000 + '"]').code == "data_json_large"
    monkeypatch.setattr(records_module, "LONGEST_RECORD", 1000)
    found = records(tmp_path / "rows.json", json.dumps([{"a": "x" * 900}, {"a": ["x" * 600] * 2}]))
    assert [record.problem for record in found] == ["", "too_large"]
