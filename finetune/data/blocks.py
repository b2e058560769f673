"""One block of a source: every step that looks at one row at a time, and a folder for what comes of it.

A block's folder appears by one rename when everything is in it, so that it is there whole or not at all; a run that
goes on after a kill takes the blocks that are there. What the last phase needs of each row stands in ``rows.npy``
beside the lines of ``rows.jsonl``, so that gigabytes of rows are copied and not parsed once more.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from finetune.data.config import DataConfig
from finetune.data.duplicates import PERMUTATIONS, key, signatures
from finetune.data.ledger import StepEntry
from finetune.data.records import Block, Record, checked
from finetune.data.rendering import Renderer
from finetune.data.row import Outcome, Row, Step
from finetune.data.shapes import recognise
from finetune.data.sources import OpenSource, read
from finetune.data.steps import steps
from finetune.data.too_long import too_long
from pipelines.home import disk_errors
from pipelines.text.languages import detect

__all__ = ["ROW", "SAMPLES", "FinishedBlock", "Job", "RowWorker", "excerpt", "json_line", "private_file"]

SAMPLES = 5
"""Rows of each step and reason that the page shows."""

_SAMPLE_CHARACTERS = 600
_BATCH_CHARACTERS = 250_000
"""Characters of rows that are kept in memory. Their 5-grams, as strings, take 60 bytes each: 15 MB, where those of a
whole block would take half a gigabyte in each process."""
_BATCH_ROWS = 1000
_JUDGED = 500
"""Characters of a reply that tell its language for the statistics."""

ROW = np.dtype(
    [
        ("end", np.int64),  # of its line in rows.jsonl
        ("group", np.float64),  # where its group falls between 0 and 1: decides the split
        ("draw", np.float64),  # where the row itself falls: decides fractions of weights
        ("tokens", np.int64),
        ("trained", np.int64),
        ("characters", np.int64),
        ("language", "S8"),
    ]
)

Job = tuple[Block, Path]
"""A block and the folder for what comes of it."""


@dataclass(frozen=True)
class FinishedBlock:
    """The folder of a block that is done.

    It holds rows.jsonl, rows.npy, keys.npy, signatures.npy (where near-duplicates are looked for), rejected.jsonl,
    redactions.jsonl and about.json.
    """

    folder: Path

    def about(self) -> dict[str, Any]:
        """``source``, ``read``, ``steps``, ``samples``, ``tokens_before`` and ``longest``."""
        about: dict[str, Any] = json.loads((self.folder / "about.json").read_bytes())
        about["steps"] = {name: StepEntry.from_json(entry) for name, entry in about["steps"].items()}
        return about

    def rows(self) -> np.ndarray:
        """What the last phase needs of each row, of type ``ROW``."""
        return np.asarray(np.load(self.folder / "rows.npy"))


class RowWorker:
    """Works on blocks; made once in each process, as tokenizer and benchmark rows take seconds to load.

    Args:
        config: What is to be done.
        sources: The opened sources, by name.
        renderer: That of the configuration's model, where it is loaded already.

    Raises:
        InputError: The model has no tokenizer, or a file of benchmark rows cannot be read.
    """

    def __init__(self, config: DataConfig, sources: dict[str, OpenSource], renderer: Renderer | None = None) -> None:
        self._config, self._sources = config, sources
        renderer = renderer or Renderer.load(config.model, config.task)
        self._steps: list[tuple[str, Step]] = [*steps(config), ("too_long", too_long(renderer, config))]

    def work(self, block: Block, folder: Path) -> FinishedBlock:
        """Do a block, unless its folder is there already.

        Raises:
            InputError: The source is broken.
            CinquainError: The disk is full.
        """
        if folder.is_dir():
            return FinishedBlock(folder)
        with disk_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            # A name of its own: on a cluster, a task that is started anew may meet the one it replaces.
            temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
            try:
                with ExitStack() as files:
                    _Writer(temporary, self._config, block, files).write(self._steps, self._sources[block.source])
                for path in temporary.iterdir():  # a power cut must not leave an empty file in a folder that is there
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
                with suppress(OSError) if folder.is_dir() else nullcontext():
                    temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return FinishedBlock(folder)


class _Writer:
    """Writes what comes of one block; the files are closed with the stack that is given."""

    def __init__(self, folder: Path, config: DataConfig, block: Block, files: ExitStack) -> None:
        self._folder, self._config, self._block = folder, config, block
        self._lines, self._rejected, self._redactions = (
            files.enter_context(private_file(folder / f"{name}.jsonl")) for name in ("rows", "rejected", "redactions")
        )
        self._entries: dict[str, StepEntry] = {}
        self._samples: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._tokens_before = self._longest = self._end = 0
        self._batch: list[Row] = []
        self._batch_characters = 0
        self._about: list[np.ndarray] = []
        self._keys: list[bytes] = []
        self._signatures: list[np.ndarray] = [np.zeros((0, PERMUTATIONS), np.uint32)]

    def write(self, row_steps: list[tuple[str, Step]], source: OpenSource) -> None:
        named = source.source.model_copy(update={"name": source.name})
        self._entries = {name: StepEntry() for name in ["read", "recognise", *(name for name, _ in row_steps)]}
        records = 0
        for record in read(self._block):
            records += 1
            if refused := checked(record):
                self._count("read", record, refused)
                continue
            self._entries["read"].pass_on()
            outcome = recognise(record, named, self._config.task)
            self._count("recognise", record, outcome)
            rows = list(outcome.rows)
            for name, step in row_steps:
                rows = [after for row in rows for after in self._did(name, row, step(row))]
            for row in rows:
                self._keep(row)
        self._flush()
        self._save(
            {
                "source": source.name,
                "read": records,
                "tokens_before": self._tokens_before,
                "longest": self._longest,
                "steps": {name: entry.to_json() for name, entry in self._entries.items()},
                "samples": self._samples,
            }
        )

    def _did(self, name: str, row: Row, outcome: Outcome) -> tuple[Row, ...]:
        self._count(name, row, outcome)
        if name == "too_long":
            self._tokens_before += outcome.details.get("tokens", sum(each.tokens for each in outcome.rows))
            if not outcome.rows:
                self._longest = max(self._longest, outcome.details.get("tokens", 0))
        return outcome.rows

    def _count(self, name: str, item: Row | Record, outcome: Outcome) -> None:
        # Numbers that the last step notes on a row change nothing that a person wrote.
        quiet = name in ("recognise", "too_long")
        self._entries[name].count(outcome, changed=bool(outcome.changes) if quiet else outcome.rows != (item,))
        for redaction in outcome.redactions:
            self._redactions.write(json_line({"id": item.id, **asdict(redaction)}))
        if not outcome.rows:
            entry = {"id": item.id, "step": name, "reason": outcome.reason, "details": dict(outcome.details)}
            self._rejected.write(json_line({**entry, "row": _plain(item)}))
        for kind in dict.fromkeys(outcome.changes if outcome.rows else (outcome.reason,)):
            samples = self._samples[f"{name}.{kind}"]
            if len(samples) < SAMPLES:
                after = _shown(outcome.rows[0]) if outcome.rows else None
                details = dict(outcome.details)
                samples.append({"id": item.id, "before": _shown(item), "after": after, "details": details})

    def _keep(self, row: Row) -> None:
        self._batch.append(row)
        self._batch_characters += sum(map(len, row.texts(self._config.task)))
        if self._batch_characters > _BATCH_CHARACTERS or len(self._batch) >= _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        task = self._config.task
        self._about.append(np.fromiter(self._described(), ROW, len(self._batch)))
        self._keys += [key(row, task) for row in self._batch]
        if self._config.duplicates.near is not None:
            self._signatures.append(signatures(self._batch, task))
        self._batch, self._batch_characters = [], 0

    def _described(self) -> Iterator[tuple[Any, ...]]:
        seed = self._config.split.seed
        for row in self._batch:
            line = json_line(row.__dict__)
            self._lines.write(line)
            self._end += len(line)
            characters = sum(map(len, row.texts(self._config.task)))
            found = detect(row.reply[:_JUDGED])
            language = (found[0] if found else "und").encode()
            places = _unit(f"{seed}:{row.group}"), _unit(f"{seed}:{row.id}")
            yield (self._end, *places, row.tokens, row.trained, characters, language)

    def _save(self, about: dict[str, Any]) -> None:
        np.save(self._folder / "rows.npy", np.concatenate(self._about))
        np.save(self._folder / "keys.npy", np.frombuffer(b"".join(self._keys), np.uint8).reshape(-1, 16))
        if self._config.duplicates.near is not None:
            np.save(self._folder / "signatures.npy", np.concatenate(self._signatures))
        with private_file(self._folder / "about.json") as file:
            file.write(json_line(about))


def json_line(data: Any) -> bytes:
    """A line of JSON; half of a surrogate pair, which no file can hold, becomes a question mark."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "replace") + b"\n"


def excerpt(data: Any) -> str:
    """The beginning of something, for the page."""
    text = json.dumps(data, ensure_ascii=False)
    return text if len(text) <= _SAMPLE_CHARACTERS else f"{text[:_SAMPLE_CHARACTERS]}…"


def private_file(path: Path) -> IO[bytes]:
    """A new file that only its owner can read (0600)."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _unit(text: str) -> float:
    """A number from 0 up to 1 that a text always has."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()[:6]) / 2**48


def _plain(item: Row | Record) -> Any:
    return item.__dict__ if isinstance(item, Row) else item.data


def _shown(item: Row | Record) -> str:
    return excerpt(item.data if isinstance(item, Record) else [item.request, item.reply])
