"""What the subcommands share at the terminal: language, clean text, consoles, Ctrl-C, files that appear at once.

Only the standard library is imported at the top: ``cinquain --help`` loads this file.
"""

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.errors import CinquainError
    from pipelines.generation import Note

__all__ = [
    "Language",
    "Sanitizer",
    "check_writable",
    "console",
    "interruptible",
    "language",
    "sanitize",
    "say",
    "to_json",
    "use_language",
    "use_utf8",
]

# One run of the program speaks one language; an error must know it even where no option reached it.
_chosen_language: str | None = None


def use_language(tag: str | None) -> str | None:
    """Choose the language of sentences; "" leaves it to the locale again, None changes nothing."""
    global _chosen_language
    if tag is not None:
        _chosen_language = tag
    return tag


def language() -> str:
    """``zh`` or ``en``: what ``--lang`` said, else the locale in the order that gettext reads it."""
    tags = (_chosen_language, *(os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG")))
    return "zh" if next((tag for tag in tags if tag), "en").lower().startswith("zh") else "en"


Language = Annotated[
    str | None,
    typer.Option("--lang", help="Language of messages: en or zh.", callback=use_language, is_eager=True, metavar="TAG"),
]


def say(item: "str | Note | CinquainError", **parameters: Any) -> str:
    """The sentence for a note, an error or a code, in the language of this run and fit for a terminal."""
    from pipelines.generation import Note
    from pipelines.wording import sentence

    return sanitize(sentence(Note(item, parameters) if isinstance(item, str) else item, language()))


# ECMA-48: a control sequence ends at its final byte; a string (window title, hyperlink, device control) ends at BEL or
# ST. Both have 8-bit forms in C1. A body has no control characters and a bound: an unfinished one hides no text.
_CSI = r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}"
_STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]{0,256}"
_SHORT = r"\x1b[ -/]{0,8}"
_SEQUENCE = re.compile(rf"{_CSI}[@-~]|{_STRING}(?:\x07|\x1b\\|\x9c)|{_SHORT}[0-~]")
_UNFINISHED = re.compile(rf"(?:{_CSI}|{_STRING}\x1b?|{_SHORT})\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_NOT_IN_JSON = re.compile(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Sanitizer:
    """Keeps control characters, escape sequences and direction overrides out of text that comes in pieces.

    A model's reply is not to be trusted: an escape sequence can rewrite the screen, the clipboard or the window title.

    Attributes:
        removed: Characters left out so far.
    """

    def __init__(self) -> None:
        self.removed = 0
        self._held = ""

    def feed(self, piece: str) -> str:
        """The part of the text so far that can be shown; a sequence that may still grow is held back."""
        text = self._held + piece
        unfinished = _UNFINISHED.search(text)
        end = unfinished.start() if unfinished else len(text)
        self._held = text[end:]
        return self._clean(text[:end])

    def close(self) -> str:
        """What was held back, when the text has ended."""
        held, self._held = self._held, ""
        return self._clean(held)

    def _clean(self, text: str) -> str:
        clean = _CONTROL.sub("", _SEQUENCE.sub("", text))
        self.removed += len(text) - len(clean)
        return clean


def sanitize(text: str) -> str:
    """A whole text without control characters and escape sequences; line breaks and tabs stay."""
    sanitizer = Sanitizer()
    return sanitizer.feed(text) + sanitizer.close()


def to_json(data: Any, *, indent: int | None = None) -> str:
    """JSON with readable letters, where nothing that a terminal would obey stands unescaped."""
    text = json.dumps(data, ensure_ascii=False, indent=indent, default=str)
    return _NOT_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def console(*, stderr: bool = False) -> "Console":
    """A console that shows text as it is: no markup, no highlighting, no emoji codes."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


@contextmanager
def interruptible(cancel: threading.Event) -> Iterator[None]:
    """While this lasts, Ctrl-C sets ``cancel``; a second one raises KeyboardInterrupt as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def handle(number: int, frame: Any) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def check_writable(path: Path) -> None:
    """Find out before a long run, not after it, that its result could not be written.

    Raises:
        InputError: The path is a folder, a device or a pipe, or its folder is missing or read-only.
    """
    from pipelines.errors import InputError

    if path.is_dir():
        raise InputError("cli_output_is_folder", path=str(path))
    if path.exists() and not path.is_file():  # files appear by a rename, which would replace /dev/null by a file
        raise InputError("cli_output_not_file", path=str(path))
    if not path.parent.is_dir():
        raise InputError("cli_output_folder_missing", path=str(path), folder=str(path.parent))
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError("cli_output_not_writable", path=str(path))


def use_utf8() -> None:
    """Write UTF-8 on every system; a lone surrogate becomes a question mark instead of an exception."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us (``>&-``): nobody reads it
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - it stays open
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
