"""Text from an argument, a file or standard input, with a sentence for everything that is not text."""

import codecs
import sys
from pathlib import Path

__all__ = ["read_text"]

# Longest first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_text(argument: str | None, file: Path | None) -> str | None:
    """The text that was given: the argument itself, ``-`` for standard input, or a file.

    Without either, standard input is read where it is a pipe or a file; at a terminal the answer is None.

    Raises:
        InputError: Both were given, the file is missing, a folder, unreadable, too large, empty, binary or not UTF-8.
    """
    from pipelines.errors import InputError

    if argument is not None and file is not None:
        raise InputError("cli_text_twice", path=str(file))
    if argument == "-" or (file is not None and str(file) == "-"):
        return _read_standard_input()
    if argument is not None:
        if not argument.strip():
            raise InputError("cli_text_empty", name="TEXT")
        return argument
    if file is not None:
        return _decoded(_read_bytes(file), str(file))
    return None if sys.stdin is None or sys.stdin.isatty() else _read_standard_input()


def _limit() -> int:
    """Bytes above which a file is too large however it is encoded: four for each character, and a byte order mark."""
    from pipelines.requests import MAX_CHARACTERS

    return 4 * MAX_CHARACTERS + 4


def _read_standard_input() -> str:
    return _decoded(_checked_size(sys.stdin.buffer.read(_limit() + 1), "<stdin>"), "<stdin>")


def _read_bytes(path: Path) -> bytes:
    from pipelines.errors import InputError

    if path.is_dir():
        raise InputError("cli_file_is_folder", path=str(path))
    try:
        if path.stat().st_size > _limit():
            raise _too_large(str(path))
        with path.open("rb") as file:  # bounded even so: a pipe or a device tells no size
            return _checked_size(file.read(_limit() + 1), str(path))
    except FileNotFoundError:
        raise InputError("cli_file_missing", path=str(path), folder=str(path.parent.resolve())) from None
    except OSError as error:
        raise InputError("cli_file_unreadable", path=str(path), problem=error.strerror or str(error)) from error


def _checked_size(data: bytes, name: str) -> bytes:
    if len(data) > _limit():
        raise _too_large(name)
    return data


def _too_large(name: str) -> Exception:
    from pipelines.errors import InputError
    from pipelines.requests import MAX_CHARACTERS

    return InputError("cli_file_too_large", path=name, limit=MAX_CHARACTERS)


def _decoded(data: bytes, name: str) -> str:
    """Text of a file: UTF-8, or UTF-16 and UTF-32 where a byte order mark says so."""
    from pipelines.errors import InputError

    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", "utf-8"))
    body = data[len(mark) :]
    if encoding == "utf-8" and (position := body.find(b"\x00")) >= 0:
        raise InputError("cli_file_binary", path=name, position=len(mark) + position)
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            "cli_file_not_utf8",
            path=name,
            position=len(mark) + error.start,
            line=body.count(b"\n", 0, error.start) + 1,
            byte=f"0x{body[error.start]:02x}",
            guess=_likely_encoding(body),
        ) from None
    if not text.strip():
        raise InputError("cli_text_empty", name=name)
    return text


def _likely_encoding(data: bytes) -> str:
    """GB18030 where the bytes read as mostly Chinese in it, else Windows-1252, the usual one of Western files."""
    text = data[:4096].decode("gb18030", errors="ignore")
    letters = [character for character in text if ord(character) > 127]
    chinese = sum("\u4e00" <= character <= "\u9fff" or "\u3000" <= character <= "\u303f" for character in letters)
    # A stray accented letter and the byte after it also read as one rare character: ask for several.
    return "gb18030" if chinese >= 4 and chinese > 0.8 * len(letters) else "windows-1252"
