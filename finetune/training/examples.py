"""Rendered rows on disk: written once, mapped into memory by every process that trains on them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.data.rendering import Rendered
from pipelines.errors import CinquainError, InputError
from pipelines.home import disk_errors, write_atomically

__all__ = ["Example", "Examples", "write_examples"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Example:
    """One row as arrays.

    Attributes:
        tokens: Ids that the (causal) model or the decoder holds, int32, shape (length,).
        labels: Which of them carry loss, bool, shape (length,).
        encoder: Ids that the encoder reads, int32; None for a causal model.
    """

    tokens: np.ndarray
    labels: np.ndarray
    encoder: np.ndarray | None = None


class Examples:
    """Examples of a folder that ``write_examples`` wrote.

    Args:
        folder: The folder.

    Attributes:
        lengths: Tokens of each example, encoder and decoder together, int64, shape (examples,).
        trained: Tokens of each that carry loss, int64, shape (examples,).

    Raises:
        CinquainError: ``examples_broken`` where the folder is not whole.
    """

    def __init__(self, folder: Path) -> None:
        try:
            about = json.loads((folder / "examples.json").read_bytes())
            self._tokens = _mapped(folder / "tokens.bin", np.int32, about["tokens"])
            self._labels = _mapped(folder / "labels.bin", np.bool_, about["tokens"])
            self._encoder = _mapped(folder / "encoder.bin", np.int32, about["encoder"])
            # Where each example ends: in tokens and labels, and in encoder.
            self._ends = _mapped(folder / "ends.bin", np.int64, 2 * about["examples"]).reshape(-1, 2)
        except (OSError, ValueError, KeyError) as error:
            raise CinquainError("examples_broken", path=str(folder), problem=str(error)) from error
        self._pairs = bool(about["encoder"])
        self.lengths = np.diff(self._ends, axis=0, prepend=0).sum(axis=1)
        sums = np.concatenate([[0], np.cumsum(self._labels, dtype=np.int64)])
        ends = self._ends[:, 0]
        self.trained = sums[ends] - sums[np.concatenate([[0], ends[:-1]])] if len(ends) else ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, place: int) -> Example:
        start, encoder_start = self._ends[place - 1] if place else (0, 0)
        end, encoder_end = self._ends[place]
        encoder = self._encoder[encoder_start:encoder_end] if self._pairs else None
        return Example(self._tokens[start:end], self._labels[start:end], encoder)


def write_examples(folder: Path, rendered: Iterable[Rendered]) -> Examples:
    """Write rendered rows; ``examples.json`` comes last, so that a folder without it is known to be a part.

    Args:
        folder: Where to; what is there is written anew.
        rendered: The rows, read once: no more than one of them is in memory.

    Raises:
        InputError: ``example_masked`` for a row without anything to learn.
        CinquainError: The disk is full or refuses.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "examples.json").unlink(missing_ok=True)
        count, total, encoder_total = 0, 0, 0
        with (
            (folder / "tokens.bin").open("wb") as tokens,
            (folder / "labels.bin").open("wb") as labels,
            (folder / "encoder.bin").open("wb") as encoder,
            (folder / "ends.bin").open("wb") as ends,
        ):
            for each in rendered:
                if not any(each.labels):
                    raise InputError("example_masked", row=count + 1, tokens=len(each.tokens))
                read = each.encoder or []
                count, total, encoder_total = count + 1, total + len(each.tokens), encoder_total + len(read)
                tokens.write(np.asarray(each.tokens, np.int32).tobytes())
                labels.write(np.asarray(each.labels, np.bool_).tobytes())
                encoder.write(np.asarray(read, np.int32).tobytes())
                ends.write(np.asarray([total, encoder_total], np.int64).tobytes())
    about = {"schema_version": SCHEMA_VERSION, "examples": count, "tokens": total, "encoder": encoder_total}
    write_atomically(folder / "examples.json", json.dumps(about) + "\n")
    return Examples(folder)


def _mapped(path: Path, kind: type, count: int) -> np.ndarray:
    if path.stat().st_size != count * np.dtype(kind).itemsize:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes")
    return np.memmap(path, kind, "r") if count else np.zeros(0, kind)  # an empty file cannot be mapped
