"""Files of text in any encoding, as lines of text."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from finetune.data.packed import open_bytes
from pipelines.errors import InputError

__all__ = ["GUESSED", "check_encoding", "find_encoding", "open_text"]

GUESSED = "encoding_guessed"
"""The remark on every record of a file whose encoding nobody named and no mark at its beginning tells."""

_SAMPLE = 1 << 20
_JUDGED = 100_000
"""Bytes from which an encoding is guessed: more of them make it slower and no better."""
_GUESSES = ["gb18030", "big5", "cp932", "cp949", "euc_jp", "cp1252", "cp1250", "cp1251", "cp1253"]
"""What files of text are in that are not in UTF-8. With every encoding there is to choose from, French came out as
Baltic and German as Macintosh; of these, lines in twelve languages were all read as they were written but Turkish."""
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


def find_encoding(sample: bytes, path: Path) -> tuple[str, bool]:
    """The encoding of a text by its first bytes, and whether that is more than a guess.

    Args:
        sample: The first bytes; they may end within a character.
        path: The file, for the error.

    Raises:
        InputError: ``data_binary`` for bytes that are no text.
    """
    for mark, encoding in _MARKS.items():
        if sample.startswith(mark):
            return encoding, True
    if (wide := _wide(sample)) is not None:
        return wide, False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return "utf-8", True
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        matches = from_bytes(sample[:_JUDGED], cp_isolation=_GUESSES)
    best = matches.best()
    if best is None:
        raise InputError("data_binary", path=str(path))
    # Western Europe's, which has the same letters as Central Europe's where both read well.
    western = best.encoding == "cp1250" and any("cp1252" in match.could_be_from_charset for match in matches)
    return "cp1252" if western else str(best.encoding), False


def check_encoding(encoding: str | None) -> None:
    """See that Python knows an encoding of text by this name.

    Raises:
        InputError: ``data_encoding_unknown``.
    """
    try:
        "".encode(encoding or "utf-8")
    except (LookupError, ValueError) as error:
        raise InputError("data_encoding_unknown", encoding=encoding) from error


@contextmanager
def open_text(path: Path, encoding: str | None) -> Iterator[tuple[TextIO, tuple[str, ...]]]:
    """A file, packed or not, as text whose line breaks stay as they are.

    Args:
        path: The file.
        encoding: Of the text; found out where None.

    Yields:
        The text, and remarks for its records.

    Raises:
        InputError: ``data_binary``; ``data_encoding`` where bytes turn up later that the encoding does not have.
    """
    remarks: tuple[str, ...] = ()
    if encoding is None:
        with open_bytes(path) as stream:
            encoding, sure = find_encoding(stream.read(_SAMPLE), path)
        remarks = () if sure else (GUESSED,)
    try:
        with open_bytes(path) as stream, io.TextIOWrapper(stream, encoding, newline="") as text:
            yield text, remarks
    except UnicodeError as error:  # UTF-16 without a mark where one has to be is no UnicodeDecodeError
        found = error.object[error.start : error.start + 4].hex(" ") if isinstance(error, UnicodeDecodeError) else "–"
        raise InputError("data_encoding", path=str(path), encoding=encoding, found=found) from error


def _wide(sample: bytes) -> str | None:
    """UTF-16 without a mark: in Western text every second byte is zero, and a text in UTF-8 has no zeros at all."""
    half = len(sample[:_JUDGED]) // 2
    zeros = sample[: 2 * half : 2].count(0), sample[1 : 2 * half : 2].count(0)
    if half and max(zeros) > half // 3 and min(zeros) < half // 20:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    return None
