"""What a reader of one format gives: the texts of a document, and what it left alone."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.errors import InputError
from pipelines.generation import Note

__all__ = ["Parts", "decoded", "encoded", "outer", "refuse"]


@dataclass
class Parts:
    """The texts to translate in order of the document, and how to put others in their place.

    Attributes:
        texts: Each a paragraph, heading, cell, cue or message, without blank space around it.
        rebuild: Takes as many texts and returns the document.
        left: How many things of a kind were left as they are.
        notes: What else a person should know.
    """

    texts: list[str]
    rebuild: Callable[[list[str]], bytes]
    left: Counter[str] = field(default_factory=Counter)
    notes: list[Note] = field(default_factory=list)


def refuse(code: str, name: str, problem: str = "") -> InputError:
    """The error for a file that cannot be read: a code of ``pipelines/wording/documents.yaml``."""
    return InputError(code, path=name, problem=problem)


def decoded(data: bytes, name: str) -> tuple[str, list[Note]]:
    """The characters of a text file: UTF-8, what its byte order mark says, or the likeliest encoding, with a note.

    Raises:
        InputError: ``document_damaged`` where it holds binary data.
    """
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            try:
                return data.decode("utf-8-sig" if encoding == "utf-8" else encoding), []
            except UnicodeDecodeError as error:
                raise refuse("document_damaged", name, str(error)) from None
    if b"\x00" in data:
        raise refuse("document_damaged", name, "binary data")
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        best = from_bytes(data).best()
        if best is None:
            raise refuse("document_damaged", name, "unknown encoding") from None
        return str(best), [Note("document_encoding", {"encoding": best.encoding})]


def encoded(text: str, original: bytes) -> bytes:
    """UTF-8, with a byte order mark where the original had one."""
    return (b"\xef\xbb\xbf" if original.startswith(b"\xef\xbb\xbf") else b"") + text.encode()


def outer(text: str) -> tuple[str, str, str]:
    """A text as blank space before it, its core, blank space behind it."""
    core = text.strip()
    start = text.find(core) if core else len(text)
    return text[:start], core, text[start + len(core) :]
