"""Sums that close are said to close, and one that does not is found."""

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.ledger import STEPS, Ledger, SourceEntry, SplitEntry, StepEntry, merged
from finetune.data.row import Outcome, Row, change, drop, keep, split
from pipelines.errors import InputError

ROW = Row("a:1", {"text": "x"}, "y", "g", "a")

outcomes = st.one_of(
    st.just(keep(ROW)),
    st.sampled_from(["one", "two"]).map(lambda kind: change(ROW, kind, kind)),
    st.sampled_from(["empty", "long"]).map(drop),
    st.integers(2, 4).map(lambda count: split((ROW,) * count, "split")),
)


def counted(results: list[Outcome]) -> StepEntry:
    entry = StepEntry()
    for outcome in results:
        entry.count(outcome, changed=bool(outcome.changes))
    return entry


def ledger_of(draw: random.Random, rows: int) -> Ledger:
    """A ledger as a preparation leaves it: rows go through some of the steps, in order."""
    ledger = Ledger("dialogue", sources=[SourceEntry("a", "a.jsonl", "jsonl", "", read=rows)])
    for name in sorted(draw.sample(STEPS, 5), key=STEPS.index):
        results = [
            draw.choice([keep(ROW), keep(ROW), change(ROW, "x"), drop("y"), split((ROW, ROW))]) for _ in range(rows)
        ]
        ledger.steps[name] = counted(results)
        rows = ledger.steps[name].left
    ledger.splits = {"train": SplitEntry(rows=rows // 2), "test": SplitEntry(rows=rows - rows // 2)}
    return ledger


@given(st.lists(outcomes))
def test_each_row_that_enters_a_step_leaves_it_or_is_dropped(results: list[Outcome]) -> None:
    entry = counted(results)
    assert entry.entered == len(results)
    assert entry.left == sum(len(outcome.rows) for outcome in results)
    assert entry.left == entry.entered + entry.added - entry.dropped.total()
    assert entry.changes["one"] == sum("one" in outcome.changes for outcome in results)  # in rows, not in places


@given(st.lists(outcomes), st.integers(0, 20))
def test_shares_of_the_rows_add_up_to_the_whole(results: list[Outcome], cut: int) -> None:
    shares = [{"repair": counted(results[:cut])}, {"repair": counted(results[cut:])}]
    assert merged(shares) == {"repair": counted(results)}


@given(st.randoms(use_true_random=False), st.integers(0, 30))
def test_a_sound_ledger_survives_json(draw: random.Random, rows: int) -> None:
    ledger = ledger_of(draw, rows)
    assert ledger.problems() == []
    assert ledger.kept == ledger.splits["train"].rows + ledger.splits["test"].rows
    assert Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger
    assert ledger.dropped().total() == sum(step.dropped.total() for step in ledger.steps.values())


@given(st.randoms(use_true_random=False), st.integers(1, 30), st.integers(0, 7))
def test_a_row_that_is_lost_anywhere_is_found(draw: random.Random, rows: int, where: int) -> None:
    ledger = ledger_of(draw, rows)
    names = list(ledger.steps)
    if where < len(names):
        ledger.steps[names[where]].left += 1
    elif where == 5:
        ledger.sources[0].read -= 1
    elif where == 6:
        ledger.splits["train"].rows -= 1
    else:
        ledger.steps[names[0]].dropped["nobody knows"] += 1
    assert ledger.problems()


def test_what_is_wrong_is_said_in_numbers() -> None:
    ledger = Ledger("dialogue", steps={"read": StepEntry(entered=3, dropped=Counter(x=1), left=3)})
    ledger.sources = [SourceEntry("a", "a.jsonl", "jsonl", "", read=4)]
    assert ledger.problems() == [
        "read: 3 in, 0 added, 1 dropped, 3 out",
        "3 left read, 0 were written",
        "4 were read, 3 entered read",
    ]


def test_steps_stand_in_their_order() -> None:
    assert list(merged([{"weights": StepEntry(), "read": StepEntry()}, {"lengths": StepEntry()}])) == [
        "read",
        "lengths",
        "weights",
    ]
    with pytest.raises(TypeError):
        StepEntry.from_json({**StepEntry().to_json(), "more": 1})


@pytest.mark.parametrize(
    "line", ["", "{}", "[1]", '{"id": 1}', "[" * 100_000, json.dumps({**ROW.__dict__, "reply": ["y"]}), '{"id": "a"']
)
def test_a_line_that_is_no_row_is_one_sentence(line: str) -> None:
    with pytest.raises(InputError) as caught:
        Row.from_json(line)
    assert caught.value.code == "data_row_format"
    assert Row.from_json(ROW.to_json()) == ROW
