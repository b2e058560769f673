"""Calls to the tiny encoder–decoder models, and their engines, each loaded once."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

from pipelines.engines import load_engine
from pipelines.engines.base import Call, Completion
from pipelines.engines.seq2seq.engine import Seq2SeqEngine
from pipelines.generation import GenerationOptions
from pipelines.tasks.summarization import SummarizationRequest
from pipelines.tasks.translation import TranslationRequest
from tests.doubles.tiny_seq2seq import checkpoint

NONSENSE = "trees open the harbour of five winters and nobody paid the engineers of the sea"
"""A text that the tiny models never saw: their replies are long and unsure, so that every choice shows."""


class Engines:
    """``engines(checkpoint, **options)``: in float32, where batched rows give the numbers of single ones.

    Args:
        below: Folder of the checkpoints.
    """

    def __init__(self, below: Path) -> None:
        self._below = below
        self._loaded: dict[str, Seq2SeqEngine] = {}

    def folder(self, name: str) -> Path:
        """The folder of a checkpoint."""
        return checkpoint(name, self._below)

    def __call__(self, name: str, **options: Any) -> Seq2SeqEngine:
        """The engine of a checkpoint."""
        key = f"{name} {options}"
        if key not in self._loaded:
            self._loaded[key] = load(self.folder(name), **options)
        return self._loaded[key]


def load(folder: Path, adapter: Path | None = None, **options: Any) -> Seq2SeqEngine:
    """An engine of its own."""
    engine = load_engine(str(folder), str(adapter) if adapter else None, dtype="float32", **options)
    assert isinstance(engine, Seq2SeqEngine)
    return engine


def summarize(text: str = NONSENSE, **options: Any) -> Call:
    """A call that asks for a summary."""
    settings = GenerationOptions(**{"max_new_tokens": 40, "temperature": 0.0, "repetition_penalty": 1.1, **options})
    return Call([], settings, "summarization", SummarizationRequest(text=text))


def translate(text: str = "The cat sleeps.", target: str = "de", **options: Any) -> Call:
    """A call that asks for a translation from English."""
    settings = GenerationOptions(**{"max_new_tokens": 40, "temperature": 0.0, "repetition_penalty": 1.0, **options})
    return Call([], settings, "translation", TranslationRequest(text=text, source="en", target=target))


def run(engine: Seq2SeqEngine, call: Call, cancel: threading.Event | None = None) -> tuple[list[str], Completion]:
    """Stream a call: the pieces and the completion."""
    *pieces, completion = engine.stream(call, cancel)
    assert isinstance(completion, Completion)
    texts = [piece for piece in pieces if isinstance(piece, str)]
    assert "".join(texts) == completion.text
    return texts, completion


def workers() -> list[threading.Thread]:
    """Threads of streams that still run."""
    return [thread for thread in threading.enumerate() if thread.name == "seq2seq"]


def edited(folder: Path, target: Path, file: str = "generation_config.json", **changes: Any) -> Path:
    """A copy of a checkpoint with changes in one of its files."""
    shutil.copytree(folder, target)
    content = json.loads((target / file).read_text())
    (target / file).write_text(json.dumps({**content, **changes}))
    return target
