"""The process that reads a document: a small one with limits, so that a hostile file ends it and nothing else.

    python -m pipelines.documents.worker < request > answer

Request and answer are a line of JSON, then bytes. Nothing is pickled: what comes from here is data.
"""

import json
import sys
from typing import Any

from pipelines.documents.markdown import markdown
from pipelines.documents.messages import catalog
from pipelines.documents.parts import Parts, refuse
from pipelines.documents.plain import subtitles, text
from pipelines.documents.reading import html, pdf
from pipelines.documents.word import word
from pipelines.errors import InputError

__all__ = ["main", "parts"]

_MEMORY, _SECONDS = 1 << 30, 30


def parts(data: bytes, name: str, suffix: str, target: str = "") -> Parts:
    """The parts of a document of a known format."""
    if suffix == ".po":
        return catalog(data, name, target)
    readers = {".txt": text, ".md": markdown, ".srt": subtitles, ".docx": word, ".pdf": pdf, ".html": html}
    return readers[suffix](data, name)


def main() -> None:
    """Answer one request."""
    _limit()
    asked = json.loads(sys.stdin.buffer.readline())
    data = sys.stdin.buffer.read()
    answer: dict[str, Any]
    out = b""
    try:
        found = parts(data, asked["name"], asked["suffix"], asked["target"])
        if asked["texts"] is not None:
            out = found.rebuild(asked["texts"])
        notes = [[note.code, note.parameters] for note in found.notes]
        answer = {"texts": found.texts, "left": dict(+found.left), "notes": notes}
    except InputError as error:
        answer = {"error": [error.code, error.parameters]}
    except (MemoryError, RecursionError):
        refused = refuse("document_unpacks", asked["name"])
        answer = {"error": [refused.code, refused.parameters]}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + out)


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the caller's clock remains
        return
    for kind, most in ((resource.RLIMIT_CPU, _SECONDS), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (most, most))
    if sys.platform == "linux":  # macOS refuses to limit it
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


if __name__ == "__main__":
    main()
