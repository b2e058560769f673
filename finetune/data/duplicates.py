"""Rows that stand there more than once: the same, or nearly.

Exact duplicates share a hash of their texts. Near ones are found by MinHash over the set of their character 5-grams
(Broder 1997), which serve short messages and languages without spaces as they serve long English texts: 128
permutations, in bands for locality-sensitive hashing, and every pair that shares a band is checked by the estimated
Jaccard similarity of the whole signatures. That estimate has a standard error of at most 0.044 (0.032 at 0.85).

Everything here works on files of keys and signatures, one pair for each block of rows, and on one band at a time, so
that the memory it takes is some bytes for each row and none of its texts.
"""

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finetune.data.row import Row
from pipelines.home import disk_errors
from pipelines.tasks import TASKS

__all__ = ["PERMUTATIONS", "find", "key", "signatures"]

PERMUTATIONS = 128
_BANDS, _ROWS = 16, 8
"""A pair of similarity s shares a band with probability 1 - (1 - s^8)^16: 0.99 at 0.85, 0.95 at 0.80, 0.06 at 0.50."""
_GRAM = 5
_SEED = 42
_SHORTEST = 40
"""Characters from which near-duplicates are looked for. "Insert - Frame" and "Insert - Table" share most of their
5-grams and are two messages."""

_ROUNDS = 8
"""How often rows of one band that are not like the first of them are compared among themselves, each time with the
first of those that are left."""

EXACT, NEAR = 1, 2


def key(row: Row, task: str) -> bytes:
    """16 bytes that rows share which say the same: case, width and blank space do not count, all fields do."""
    texts = [_folded(text) for text in row.texts(task)]
    others = {name: value for name, value in row.request.items() if name not in TASKS[task].text_fields}
    content = json.dumps([texts, others], ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=16).digest()


def signatures(rows: Sequence[Row], task: str) -> np.ndarray:
    """MinHash signatures, uint32 of shape (rows, PERMUTATIONS); zeros for rows that are too short to be judged.

    Computed by rensa, 176,000 short rows a second on one core where datasketch does 2,900; both are seeded and hash
    alike in every process.
    """
    from rensa import RMinHash

    texts = [_folded("\n".join(row.texts(task))) for row in rows]
    judged = [place for place, text in enumerate(texts) if len(text) >= _SHORTEST]
    found = np.zeros((len(rows), PERMUTATIONS), np.uint32)
    if judged:
        grams = [[text[start : start + _GRAM] for start in range(len(text) - _GRAM + 1)] for text in texts]
        sets = [grams[place] for place in judged]
        found[judged] = np.asarray(RMinHash.digests_from_token_sets(sets, PERMUTATIONS, _SEED), np.uint32)
    return found


def find(
    keys: Sequence[Path], signatures: Sequence[Path], near: float | None, first: np.ndarray | None, out: Path
) -> Counter[int]:
    """Find the duplicates among the rows of all blocks.

    Args:
        keys: ``.npy`` of each block, uint8 of shape (rows, 16).
        signatures: ``.npy`` of each block as ``signatures`` makes them; read only if ``near``.
        near: Similarity from which rows count as one; None looks for exact duplicates only.
        first: Rows that win over others whatever their place (held-out ones): bool, one for each row.
        out: Where the result goes, by atomic rename: ``.npy``, int64 of shape (rows, 2): the row that stays, or -1, and
            0, 1 (exact) or 2 (near).

    Returns:
        How many rows are exact and near duplicates, by ``EXACT`` and ``NEAR``.
    """
    # Rows are looked at in this order; of rows that are one, the earliest stays.
    every = np.concatenate([np.load(path) for path in keys]) if keys else np.zeros((0, 16), np.uint8)
    count = len(every)
    order = np.arange(count) if first is None else np.lexsort((np.arange(count), ~first))
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    parents = np.arange(count)  # in ranks
    halves = every.view(np.uint64).reshape(count, 2)[order]
    for one, two in _pairs(halves[:, 0], halves[:, 1]):
        parents[two] = one
    exact = parents != np.arange(count)
    del every, halves
    if near is not None and count:
        _join_near(parents, exact, signatures, order, near)
    _flatten(parents)
    twin = np.where(parents == np.arange(count), -1, order[parents])
    kind = np.where(twin < 0, 0, np.where(exact, EXACT, NEAR))
    result = np.stack([twin[rank], kind[rank]], axis=1)
    _save(out, result)
    return Counter({EXACT: int((kind == EXACT).sum()), NEAR: int((kind == NEAR).sum())})


def _pairs(values: np.ndarray, others: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(earlier places, later places) of equal values, each later one beside the first of its kind."""
    sorted_places = np.lexsort((np.arange(len(values)), *(() if others is None else (others,)), values))
    ordered = values[sorted_places]
    same = ordered[1:] == ordered[:-1]
    if others is not None:
        same &= others[sorted_places][1:] == others[sorted_places][:-1]
    starts = np.concatenate([[True], ~same])
    heads = sorted_places[np.maximum.accumulate(np.where(starts, np.arange(len(values)), 0))]
    later = ~starts
    if later.any():
        yield heads[later], sorted_places[later]


def _join_near(parents: np.ndarray, exact: np.ndarray, paths: Sequence[Path], order: np.ndarray, near: float) -> None:
    """Join rows whose signatures agree; ``parents`` holds ranks and is changed in place."""
    # Opened for each look and let go at once: all of them mapped would count as memory, half a kilobyte for each row.
    judged_of = [np.load(path, mmap_mode="r").any(axis=1) for path in paths]
    starts = np.cumsum([0, *map(len, judged_of)])

    def of(ranks: np.ndarray, columns: slice) -> np.ndarray:
        """These columns of the signatures of some rows, read from the blocks that hold them."""
        rows = order[ranks]
        found = np.empty((len(rows), columns.stop - columns.start), np.uint32)
        which = np.searchsorted(starts, rows, side="right") - 1
        for number in np.unique(which):
            mine = which == number
            found[mine] = np.load(paths[number], mmap_mode="r")[rows[mine] - starts[number], columns]
        return found

    judged = np.concatenate(judged_of)[order]
    candidates = np.flatnonzero(judged & ~exact)
    for band in range(_BANDS):
        hashes = _hashed(of(candidates, slice(band * _ROWS, (band + 1) * _ROWS)))
        left = np.arange(len(candidates))
        for _ in range(_ROUNDS):
            places, differ = _pairs(hashes[left]), []
            for one, two in places:
                earlier, later = left[one], left[two]
                agree = np.concatenate(
                    [_agreement(of, candidates[earlier[at]], candidates[later[at]]) for at in _slices(len(earlier))]
                )
                for first, second in zip(earlier[agree >= near].tolist(), later[agree >= near].tolist(), strict=True):
                    _union(parents, int(candidates[first]), int(candidates[second]))
                differ.append(later[agree < near])
            left = np.sort(np.concatenate(differ)) if differ else left[:0]
            if not len(left):
                break


def _agreement(of: Any, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Share of equal numbers in the signatures of pairs of rows: the estimated Jaccard similarity."""
    whole = slice(0, PERMUTATIONS)
    return np.asarray((of(one, whole) == of(two, whole)).mean(axis=1))


def _slices(count: int) -> Iterator[slice]:
    yield from (slice(start, start + 100_000) for start in range(0, count, 100_000))


def _union(parents: np.ndarray, one: int, two: int) -> None:
    one, two = _root(parents, one), _root(parents, two)
    if one != two:
        parents[max(one, two)] = min(one, two)


def _root(parents: np.ndarray, place: int) -> int:
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = int(parents[place])
    return place


def _flatten(parents: np.ndarray) -> None:
    while (parents[parents] != parents).any():
        parents[:] = parents[parents]


def _hashed(values: np.ndarray) -> np.ndarray:
    """64-bit hashes of rows of numbers, the same on every machine."""
    found = np.full(len(values), 0xCBF29CE484222325, np.uint64)
    for column in values.T:
        found = (found ^ column.astype(np.uint64)) * np.uint64(0x100000001B3)
        found ^= found >> np.uint64(29)
    return found


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _save(path: Path, result: np.ndarray) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        with temporary.open("wb") as file:
            np.save(file, result)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
