"""What is held out stays apart: no document, no row and no near twin of one stands on both sides of a split."""

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.data import DataConfig, Source, Split
from finetune.data.blocks import ROW, FinishedBlock, _unit
from finetune.data.deciding import SPLITS, decide
from finetune.data.duplicates import key, signatures
from finetune.data.row import Row

TASK = "summarization"


@dataclass(frozen=True)
class Fate:
    """What was decided on a row."""

    row: Row
    part: str
    twin: int
    exact: bool
    held_out: bool
    straddling: bool
    copies: int


def sentence(seed: int, place: int, kind: str) -> str:
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 8))) for _ in range(40)]
    return " ".join(words) + (f" {'xyzw'[place % 4]}" if kind == "near" else "")


def decided(folder: Path, sources: list[tuple[Source, list[Row]]], block: int = 10**9, **changes: Any) -> list[Fate]:
    """What is decided on all rows, with the rows of each source in blocks of a size."""
    config = DataConfig(task=TASK, sources=[source for source, _ in sources], **changes)
    blocks = []
    for source, rows in sources:
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            place = folder / f"{block}-{len(blocks)}"
            place.mkdir()
            seed = config.split.seed
            about = [(0, _unit(f"{seed}:{r.group}"), _unit(f"{seed}:{r.id}"), 1, 1, 1, b"en") for r in part]
            np.save(place / "rows.npy", np.array(about, ROW))
            np.save(place / "keys.npy", np.frombuffer(b"".join(key(r, TASK) for r in part), np.uint8).reshape(-1, 16))
            np.save(place / "signatures.npy", signatures(part, TASK))
            blocks.append((source, FinishedBlock(place)))
    counts, each = decide(config, blocks, folder / f"found{block}.npy")
    every = [row for _, rows in sources for row in rows]
    fates: list[Fate] = []
    for one in each:
        columns = (one.parts, one.twins, one.exact, one.held_out, one.straddling, one.copies)
        for part_, twin, *flags, copies in zip(*(column.tolist() for column in columns), strict=True):
            fates.append(Fate(every[len(fates)], SPLITS[part_], twin, *map(bool, flags), copies))
    assert len(fates) == len(every) == counts.sum()
    return fates


KINDS = st.lists(
    st.tuples(st.integers(0, 8), st.sampled_from(["same", "near", "own"]), st.integers(0, 6)), min_size=1, max_size=30
)
USES = st.lists(st.sampled_from(["split", "split", "train", "validation", "test"]), min_size=1, max_size=3)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    kinds=KINDS, uses=USES, seed=st.integers(0, 5), block=st.integers(1, 9), exact=st.booleans(), near=st.booleans(),
    weight=st.sampled_from([0.3, 1.0, 2.5]),
)  # fmt: skip
def test_nothing_that_is_held_out_is_trained_on(
    kinds: list[tuple[int, str, int]], uses: list[Any], seed: int, block: int, exact: bool, near: bool, weight: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    sources: list[tuple[Source, list[Row]]] = [
        (Source(path=f"{n}.jsonl", name=str(n), use=use, weight=weight), []) for n, use in enumerate(uses)
    ]
    for place, (text, kind, document) in enumerate(kinds):
        rows = sources[place % len(sources)][1]
        said = sentence(1000 + place if kind == "own" else text, place, kind)
        rows.append(Row(f"{place}", {"text": said}, "", f"document:{document}", "s"))
    changes = {
        "split": Split(validation=0.2, test=0.3, seed=seed),
        "duplicates": {"exact": exact, "near": 0.85 if near else None},
    }
    folder = tmp_path_factory.mktemp("decided")
    fates = decided(folder, sources, **changes)
    assert decided(folder, sources, block, **changes) == fates

    kept = [fate for fate in fates if fate.twin < 0 and not fate.straddling]
    trained = [fate for fate in kept if fate.part == "train"]
    held = [fate for fate in kept if fate.part != "train"]
    groups: dict[str, set[str]] = {}
    for fate in kept:
        groups.setdefault(fate.row.group, set()).add(fate.part)
    assert all(len(parts) == 1 for parts in groups.values())
    for fate in fates:  # a row is dropped for its document only where that is held out indeed
        more = SPLITS[SPLITS.index(fate.part) + 1 :]
        assert not fate.straddling or any(f.row.group == fate.row.group and f.part in more for f in fates)
    assert not {key(f.row, TASK) for f in trained} & {key(f.row, TASK) for f in held}
    for part in SPLITS:
        mine = {key(fate.row, TASK) for fate in kept if fate.part == part}
        others = {key(fate.row, TASK) for fate in kept if fate.part != part}
        assert not mine & others
    if near:  # texts that differ in one letter of 200 share 0.95 of their 5-grams and more
        stems = [Counter(" ".join(f.row.request["text"].split()[:40]) for f in side) for side in (trained, held)]
        assert not stems[0].keys() & stems[1].keys()
    for fate in fates:
        if fate.twin >= 0:
            stays = fates[fate.twin]
            assert fate.copies == 0
            assert stays.twin < 0
            assert fate.held_out == (fate.part == "train" and stays.part != "train")
            assert not fate.straddling
        elif fate.straddling:
            assert fate.copies == 0
        elif fate.part != "train":
            assert fate.copies == 1
        else:
            assert fate.copies in (int(weight), int(weight) + 1)
    if exact:
        left = [key(fate.row, TASK) for fate in fates if fate.twin < 0]
        assert len(left) == len(set(left))
    else:  # repeated rows stay where nothing divides them
        assert all(not fate.exact or fates[fate.twin].part != fate.part for fate in fates)


def rows_of(count: int, documents: int) -> list[Row]:
    return [Row(f"{n}", {"text": sentence(n, 0, "")}, "", f"doc:{n % documents}", "s") for n in range(count)]


def test_shares_are_those_that_were_asked_for(tmp_path: Path) -> None:
    fates = decided(tmp_path, [(Source(path="a.jsonl"), rows_of(2000, 2000))], split=Split(validation=0.2, test=0.1))
    parts = Counter(fate.part for fate in fates)
    assert 340 < parts["validation"] < 460
    assert 140 < parts["test"] < 260


def test_another_seed_divides_otherwise_and_a_larger_share_takes_more_of_the_same(tmp_path: Path) -> None:
    sides = []
    for number, split in enumerate([Split(test=0.3), Split(test=0.5), Split(test=0.3, seed=1)]):
        (folder := tmp_path / str(number)).mkdir()
        fates = decided(folder, [(Source(path="a.jsonl"), rows_of(300, 300))], split=split)
        sides.append({fate.row.id for fate in fates if fate.part == "test"})
    assert sides[0] < sides[1]
    assert sides[0] != sides[2]


def test_a_document_in_two_sources_that_are_both_divided_stays_on_one_side(tmp_path: Path) -> None:
    sources = [(Source(path=f"{n}.jsonl", name=f"{n}"), rows_of(60, 20)[n * 30 :][:30]) for n in range(2)]
    fates = decided(tmp_path, sources, split=Split(validation=0.3, test=0.3))
    parts: dict[str, set[str]] = {}
    for fate in fates:
        parts.setdefault(fate.row.group, set()).add(fate.part)
    assert len(parts) == 20
    assert all(len(sides) == 1 for sides in parts.values())


def test_a_weight_takes_its_share_and_leaves_held_out_rows_alone(tmp_path: Path) -> None:
    sources = [
        (Source(path="a.jsonl", name="a", use="train", weight=0.25), rows_of(800, 800)),
        (Source(path="b.jsonl", name="b", use="test", weight=3.0), [
            Row(f"b{n}", {"text": sentence(5000 + n, 0, "")}, "", f"b{n}", "b") for n in range(50)
        ]),
    ]  # fmt: skip
    fates = decided(tmp_path, sources)
    assert 150 < sum(fate.copies for fate in fates[:800]) < 250
    assert [fate.copies for fate in fates[800:]] == [1] * 50


def test_no_rows_at_all(tmp_path: Path) -> None:
    assert decided(tmp_path, [(Source(path="a.jsonl"), [])]) == []
