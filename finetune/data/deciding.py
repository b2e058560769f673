"""What no row can tell alone: which part of the data it goes to, whether it stood there before, how often it appears.

Everything here is arrays over all rows, in the order of the sources; no text is read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.data import duplicates
from finetune.data.blocks import FinishedBlock
from finetune.data.config import DataConfig, Source, Split
from pipelines.home import disk_errors

__all__ = ["SPLITS", "Decided", "decide"]

SPLITS = ("train", "validation", "test")

_PARTS = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Decided:
    """What was decided on the rows of one block; all arrays have one place for each row.

    Attributes:
        block: The block.
        parts: Place in ``SPLITS``.
        twins: Row (counted over all blocks) that is kept in its stead; -1 for a row that is no duplicate.
        exact: Whether the twin says the same.
        held_out: Whether the twin stands in validation or test, and the row itself would have been trained on.
        straddling: Whether another row of its group, in a source that is held out as a whole, is held out more than it
            is: of a document in test no row is trained on or validated by.
        copies: How often it is written; 0 for a row that is dropped, or one that its source's weight leaves out.
    """

    block: FinishedBlock
    parts: np.ndarray
    twins: np.ndarray
    exact: np.ndarray
    held_out: np.ndarray
    straddling: np.ndarray
    copies: np.ndarray


def decide(
    config: DataConfig, blocks: Sequence[tuple[Source, FinishedBlock]], found: Path
) -> tuple[np.ndarray, Iterator[Decided]]:
    """Decide on all rows.

    Of rows that are one, the first stays; but one of a source that is held out (``use: test`` or ``validation``) stays
    wherever its source stands in the list, so that training loses what the test asks.

    Args:
        config: What is to be done.
        blocks: The finished blocks in their order, each with its source.
        found: File for the duplicates that were found; taken as it is where it is there.

    Returns:
        Rows of each block, and what was decided on each block.
    """
    folders = [block.folder for _, block in blocks]
    counts = np.array([len(np.load(folder / "keys.npy", mmap_mode="r")) for folder in folders], np.int64)
    near = config.duplicates.near
    if not found.is_file():
        fixed = [source.use in ("validation", "test") for source, _ in blocks]
        first = np.repeat(np.array(fixed, bool), counts) if any(fixed) else None
        signatures = [folder / "signatures.npy" for folder in folders] if near is not None else []
        with disk_errors(found):
            duplicates.find([folder / "keys.npy" for folder in folders], signatures, near, first, found)
    return counts, _each(config, blocks, counts, found)


def _each(
    config: DataConfig, blocks: Sequence[tuple[Source, FinishedBlock]], counts: np.ndarray, found: Path
) -> Iterator[Decided]:
    parts = [_parts(config.split, source, block.rows()["group"]) for source, block in blocks]
    every = np.concatenate(parts) if parts else np.zeros(0, np.int8)
    held_groups = _held_groups(blocks, parts)
    pairs = np.load(found, mmap_mode="r")
    start = 0
    for (source, block), own, count in zip(blocks, parts, counts.tolist(), strict=True):
        twins, kinds = np.array(pairs[start : start + count]).T
        across = (twins >= 0) & (every[twins] != own)
        exact = kinds == duplicates.EXACT
        if not config.duplicates.exact:
            # Repeated rows may stay then, but never on both sides of a split.
            twins = np.where(exact & ~across, -1, twins)
        held_out = (twins >= 0) & (own == 0) & (every[twins] != 0)
        rows = block.rows()
        straddling = np.zeros(count, bool)
        for part, groups in held_groups.items():
            straddling |= (twins < 0) & (own < part) & np.isin(rows["group"], groups)
        copies = np.where((twins >= 0) | straddling, 0, _weighted(source, rows["draw"], own))
        yield Decided(block, own, twins, exact & (twins >= 0), held_out, straddling, copies)
        start += count


def _held_groups(blocks: Sequence[tuple[Source, FinishedBlock]], parts: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    """Places of the groups in validation and in test; none where all sources are divided, as a group's hash decides."""
    if all(source.use == "split" for source, _ in blocks):
        return {}
    found = {}
    for part in (_PARTS["validation"], _PARTS["test"]):
        groups = [block.rows()["group"][own == part] for (_, block), own in zip(blocks, parts, strict=True)]
        found[part] = np.unique(np.concatenate(groups))
    return found


def _parts(split: Split, source: Source, places: np.ndarray) -> np.ndarray:
    if source.use != "split":
        return np.full(len(places), _PARTS[source.use], np.int8)
    test, validation = split.test, split.test + split.validation
    return np.where(places < test, 2, np.where(places < validation, 1, 0)).astype(np.int8)


def _weighted(source: Source, draws: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """How often each row appears: a weight of 2.5 gives every row twice and half of them, by their hash, once more."""
    whole = int(source.weight)
    often = whole + (draws < source.weight - whole)
    return np.where(parts == 0, often, 1).astype(np.int64)
