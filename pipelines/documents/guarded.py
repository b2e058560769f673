"""Read and write documents in a process with limits of memory, time and output."""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from pipelines.documents.parts import Parts, refuse
from pipelines.errors import InputError
from pipelines.generation import Note

__all__ = ["MOST_BYTES", "READABLE", "TRANSLATABLE", "extract", "fill"]

TRANSLATABLE = (".txt", ".md", ".srt", ".po", ".docx")
READABLE = (".txt", ".md", ".pdf", ".docx", ".html")
MOST_BYTES = 20_000_000
"""Of a file; a thousand pages of text have two million."""
_MOST_ANSWER = 300_000_000
_SECONDS = 60.0
_SAME = {".htm": ".html", ".markdown": ".md", ".text": ".txt"}
_MAGIC = ((b"PK\x03\x04", ".docx"), (b"%PDF-", ".pdf"))


def extract(data: bytes, name: str, *, target: str = "") -> Parts:
    """The texts of a document; ``rebuild`` of the result does what ``fill`` does.

    Args:
        data: The bytes of the file.
        name: Its name; the ending tells the format.
        target: Language that a catalog of messages is to be in.

    Raises:
        InputError: A code that begins with ``document_``.
    """
    answer, _ = _ask(data, name, None, target)
    notes = [Note(code, parameters) for code, parameters in answer["notes"]]
    found = Parts(answer["texts"], lambda texts: fill(data, name, texts, target=target), Counter(answer["left"]), notes)
    if not any(text.strip() for text in found.texts):
        raise refuse("document_empty", name)
    return found


def fill(data: bytes, name: str, texts: list[str], *, target: str = "") -> bytes:
    """The document with other texts in the places of those that ``extract`` found, as many and in their order."""
    return _ask(data, name, texts, target)[1]


def _suffix(data: bytes, name: str) -> str:
    known = sorted({*READABLE, *TRANSLATABLE})
    suffix = Path(name).suffix.lower()
    suffix = _SAME.get(suffix, suffix)
    if suffix not in known:
        raise InputError("document_format", path=name, known=known)
    if not data.strip():
        raise refuse("document_empty", name)
    if len(data) > MOST_BYTES:
        raise InputError("document_large", path=name, limit=MOST_BYTES // 1_000_000)
    real = next((ending for magic, ending in _MAGIC if data.startswith(magic)), None)
    if real != suffix and (real or suffix == ".pdf"):
        raise InputError("document_ending", path=name, found=suffix)
    return suffix


def _ask(data: bytes, name: str, texts: list[str] | None, target: str) -> tuple[dict, bytes]:
    suffix = _suffix(data, name)
    request = json.dumps({"name": Path(name).name, "suffix": suffix, "texts": texts, "target": target}).encode()
    # Without the keys and proxies of this process; the parser needs none of them.
    kept = {key: os.environ[key] for key in ("PATH", "SYSTEMROOT", "LANG") if key in os.environ}
    paths = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)])
    call = [sys.executable, "-s", "-m", "pipelines.documents.worker"]
    with tempfile.TemporaryFile() as given:
        given.write(request + b"\n" + data)
        given.seek(0)
        with subprocess.Popen(
            call, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**kept, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
        ) as process:  # fmt: skip
            from threading import Timer

            clock = Timer(_SECONDS, process.kill)
            clock.start()
            try:
                assert process.stdout is not None
                line = process.stdout.readline(_MOST_ANSWER)
                out = process.stdout.read(_MOST_ANSWER)
            finally:
                clock.cancel()
                process.kill()
    try:
        answer: dict = json.loads(line)
    except ValueError:
        raise refuse("document_unpacks", name) from None  # a limit ended it
    if "error" in answer:
        code, parameters = answer["error"]
        raise InputError(code, **parameters)
    return answer, out
