"""Wheels that are broken or hostile: refused with one sentence, nothing of them executed, nothing written."""

import gzip
import io
import json
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import pytest

from finetune.data.fetch import archives, fetch
from pipelines.errors import CinquainError
from tests.doubles.wheels import chat, chats, exercises, pin, use

GOOD = json.dumps({"one": chat("a: Hi", "b: Hello there", "a: How are you?", "b: Fine")})
MEMBER = "chitchat_dataset/dataset.json"


def info(name: str, mode: int = 0) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
    found.external_attr = mode << 16
    found.compress_type = zipfile.ZIP_DEFLATED
    return found


def archive(*members: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        for member, content in members:
            file.writestr(member, content)
    return held.getvalue()


def good(*more: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    return archive((info(MEMBER), GOOD.encode()), *more)


def refusal(data: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> CinquainError:
    """What is said of a wheel of these bytes, which is the pinned one."""
    path = folder / "chitchat_dataset-1.0-py3-none-any.whl"
    path.write_bytes(data)
    use(monkeypatch, "chitchat", pin(path, "chitchat-dataset==1.0"))
    with pytest.raises(CinquainError) as error:
        fetch("chitchat", folder / "out" / "rows.jsonl", source=path)
    assert not (folder / "out").exists()
    return error.value


def encrypted() -> bytes:
    data = bytearray(good())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + place] |= 1
    return bytes(data)


def renamed(old: bytes, new: bytes) -> bytes:
    """An archive with a name that zipfile would not write."""
    assert len(old) == len(new)
    return good((info(old.decode()), b"x")).replace(old, new)


UNSAFE = {
    "archive_path": [
        good((info("../../outside.txt"), b"x")),
        good((info("/etc/outside.txt"), b"x")),
        good((info("a/../../outside.txt"), b"x")),
        good((info("C:/outside.txt"), b"x")),
        renamed(b"a/b/outside.txt", b"..\\..\\utside.txt"[:15]),
        renamed(b"harmless.txt", b"harm\0ess.txt"),
    ],
    "archive_link": [good((info("link", 0o120777), b"/etc/passwd"))],
    "archive_encrypted": [encrypted()],
    "archive_ratio": [good((info("bomb"), bytes(30_000_000)))],
    "archive_files": [archive(*((info(f"{number}"), b"") for number in range(archives.MOST_FILES + 1)))],
}


@pytest.mark.parametrize(
    ("reason", "data"),
    [(reason, data) for reason, each in UNSAFE.items() for data in each],
    ids=[f"{reason}{place}" for reason, each in UNSAFE.items() for place in range(len(each))],
)
def test_what_no_honest_tool_makes_is_refused(
    reason: str, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refusal(data, tmp_path, monkeypatch)
    assert (error.code, error.parameters["reason"]) == ("data_fetch_unsafe", reason)
    assert "was refused" in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["chitchat_dataset-1.0-py3-none-any.whl"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = refusal(good((info(MEMBER), b"{}")), tmp_path, monkeypatch)
    assert error.parameters["reason"] == "archive_twice"


def test_too_much_altogether_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", len(GOOD) + 100)
    error = refusal(good((info("more"), b"x" * 101)), tmp_path, monkeypatch)
    assert error.parameters["reason"] == "archive_size"


def test_a_bomb_that_gives_a_small_size_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 50_000_000
    data = archive((info(MEMBER), b" " * size)).replace(struct.pack("<I", size), struct.pack("<I", 900_000))
    assert refusal(data, tmp_path, monkeypatch).code == "data_fetch_damaged"


def test_packed_twice_a_bomb_is_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pinned = exercises(tmp_path, bytes(20_000_000))
    use(monkeypatch, "humaneval", pinned)
    with pytest.raises(CinquainError, match="zip bomb"):
        fetch("humaneval", tmp_path / "rows.jsonl", source=path)


def test_a_gzip_that_ends_too_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip, "compress", lambda data, mtime: zipped[:-9])
    zipped = gzip.GzipFile(fileobj=(held := io.BytesIO()), mode="wb")
    zipped.write(b"x" * 5000)
    zipped.close()
    zipped = held.getvalue()  # type: ignore[assignment]
    path, pinned = exercises(tmp_path, b"")
    use(monkeypatch, "humaneval", pinned)
    with pytest.raises(CinquainError) as error:
        fetch("humaneval", tmp_path / "rows.jsonl", source=path)
    assert error.value.code == "data_fetch_damaged"


def test_every_cut_and_every_flipped_byte_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = good((info("chitchat_dataset-1.0.dist-info/LICENSE"), b"Free."))
    codes = {"data_fetch_damaged", "data_fetch_unsafe", "data_fetch_layout", "data_fetch_content"}
    assert {refusal(whole[:end], tmp_path, monkeypatch).code for end in range(0, len(whole), 7)} <= codes
    for place in range(0, len(whole), 5):
        data = bytearray(whole)
        data[place] ^= 0xFF
        assert outcome(bytes(data), tmp_path, monkeypatch) in codes | {"1 rows"}  # a time, or a flag of no use


def outcome(data: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = folder / "flipped.whl"
    path.write_bytes(data)
    use(monkeypatch, "chitchat", pin(path, "chitchat-dataset==1.0"))
    try:
        return f"{fetch('chitchat', folder / 'rows.jsonl', source=path).rows} rows"
    except CinquainError as error:
        return error.code


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("[" * 100_000 + "]" * 100_000, "data_fetch_content"),
        ('{"a": ' * 100_000 + "1" + "}" * 100_000, "data_fetch_content"),
        (b"\xff\xfe{}", "data_fetch_content"),
        ("{broken", "data_fetch_content"),
        ("[1, 2]", "data_fetch_content"),
        ('{"one": 1}', "data_fetch_content"),
        ('{"one": {"messages": [["text"]]}}', "data_fetch_content"),
        ('{"one": {"messages": [[{"sender": 1, "text": null}]]}}', "data_fetch_content"),
        ("1" * 10_000, "data_fetch_content"),
        ("{}", "data_fetch_no_rows"),
    ],
)
def test_content_of_another_form(
    content: bytes | str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pinned = chats(tmp_path, content)
    use(monkeypatch, "chitchat", pinned)
    with pytest.raises(CinquainError) as error:
        fetch("chitchat", tmp_path / "rows.jsonl", source=path)
    assert error.value.code == code


def test_a_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = refusal(archive((info("chitchat_dataset/data.json"), GOOD.encode())), tmp_path, monkeypatch)
    assert error.code == "data_fetch_layout"
    assert MEMBER in str(error)


class Planted:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_nothing_in_a_wheel_is_executed_or_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (trace := tmp_path / "trace").mkdir()
    code = f"import pathlib; pathlib.Path({str(trace)!r}, __name__).touch()\n"
    exec(code, {"__name__": "works"})
    pickle.loads(pickle.dumps(Planted(trace / "pickled")))
    assert {path.name for path in trace.iterdir()} == {"works", "pickled"}  # the traps do work
    for path in trace.iterdir():
        path.unlink()
    places = ("chitchat_dataset/__init__.py", "chitchat_dataset-1.0.data/scripts/run", "setup.py", "sitecustomize.py")
    traps: dict[str, bytes | str] = dict.fromkeys((*places, "conftest.py", "x.pth"), code)
    traps["chitchat_dataset/code.pkl"] = pickle.dumps(Planted(trace / "unpickled"))
    before = set(sys.modules)
    path, pinned = chats(tmp_path, GOOD, **traps)
    use(monkeypatch, "chitchat", pinned)
    assert fetch("chitchat", tmp_path / "out" / "rows.jsonl", source=path).rows == 1
    assert list(trace.iterdir()) == []
    assert not any(name.startswith("chitchat_dataset") for name in set(sys.modules) - before)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["rows.jsonl", "rows.jsonl.card.json"]
