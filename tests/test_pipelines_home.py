import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import CinquainError
from pipelines.home import disk_errors, home, megabytes, offline_variable, require_space, write_atomically
from pipelines.wording import sentence


def test_the_home_is_what_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CINQUAIN_HOME", str(tmp_path / "here"))
    assert home() == tmp_path / "here"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CINQUAIN_HOME", "relative")
    assert home() == tmp_path / "relative"
    monkeypatch.delenv("CINQUAIN_HOME")
    assert home().name == "cinquain"
    assert home().is_absolute()


@pytest.mark.parametrize(("value", "set_"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_offline_is_read_as_the_hub_reads_it(value: str, set_: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("CINQUAIN_OFFLINE", value)
    assert (offline_variable() == "CINQUAIN_OFFLINE") is set_
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert offline_variable() == ("CINQUAIN_OFFLINE" if set_ else "HF_HUB_OFFLINE")


@given(st.binary(max_size=2000))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("written") / "new" / "file.bin"
    write_atomically(path, data)
    assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


def test_a_private_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    write_atomically(tmp_path / "private", "text", private=True)
    write_atomically(tmp_path / "shared", "text")
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600
    assert (tmp_path / "shared").stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EFBIG, "disk_full"),
        (errno.EACCES, "disk_permission"),
        (errno.EROFS, "disk_permission"),
        (errno.EIO, "disk_failed"),
    ],
)
def test_each_error_of_the_disk_is_a_sentence_with_path_and_way_out(tmp_path: Path, number: int, code: str) -> None:
    with pytest.raises(CinquainError) as caught, disk_errors(tmp_path):
        raise OSError(number, os.strerror(number), str(tmp_path / "file"))
    assert caught.value.code == code
    assert caught.value.exit_code == 1
    for language in ("en", "zh"):
        text = sentence(caught.value, language)
        assert str(tmp_path / "file") in text
        assert "CINQUAIN_HOME" in text


def test_a_failed_replacement_keeps_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def refuse(*paths: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    # Root may write anywhere, so the system's refusal is given by hand.
    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(CinquainError, match="Permission denied"):
        write_atomically(path, "new")
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["old"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limits")
def test_a_full_disk_in_the_middle_of_a_file_leaves_the_old_one(tmp_path: Path) -> None:
    # A file size limit makes a real write fail half-way, as a full disk does.
    path = tmp_path / "file"
    write_atomically(path, "old")
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from pipelines.home import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_atomically(Path(sys.argv[1]), b'x' * 5000)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "The disk is full" in done.stderr
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["old"]


def test_missing_space_is_said_with_both_numbers(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "there" / "yet", 1)
    with pytest.raises(CinquainError, match=r"needs 1,000,000,000 MB .* and has [\d,]+ [kM]B"):
        require_space(tmp_path, 10**15)


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CinquainError) as caught:
        write_atomically(tmp_path / "file" / "below", "text")
    assert caught.value.code == "disk_permission"


def test_sizes_are_decimal() -> None:
    assert megabytes(98_362_432) == "98 MB"
    assert megabytes(23_392) == "23 kB"
