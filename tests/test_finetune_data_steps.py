"""The steps of one row: on or off, in their order, each a pure function of the row."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from finetune.data import DataConfig, Source
from finetune.data.row import Row
from finetune.data.steps import identity, steps

OFF: dict[str, Any] = {
    "repair": False, "normalize": False, "lengths": None, "language": False, "personal_data": "keep", "overlap": [],
}  # fmt: skip
ORDER = ["repair", "normalize", "lengths", "language", "personal_data", "overlap"]


def configured(**changes: Any) -> DataConfig:
    return DataConfig(**{"task": "translation", "sources": [Source(path="rows.jsonl")], **changes})


def benchmark(folder: Path, text: str = "The river runs under the old bridge in the morning.") -> str:
    path = folder / "bench.jsonl"
    path.write_text(json.dumps({"q": text}) + "\n")
    return str(path)


def test_each_step_is_on_or_off_and_they_keep_their_order(tmp_path: Path) -> None:
    assert steps(configured(**OFF)) == []
    bench = benchmark(tmp_path)
    assert [name for name, _ in steps(configured(overlap=[bench]))] == ORDER
    for name in ORDER:
        default = [bench] if name == "overlap" else DataConfig.model_fields[name].default
        assert [found for found, _ in steps(configured(**{**OFF, name: default}))] == [name]


def test_what_decides_the_result_is_known_by_content(tmp_path: Path) -> None:
    config = configured(overlap=[benchmark(tmp_path), "humaneval"])
    first = identity(config)
    assert identity(config) == first
    assert list(first["overlap"]) == config.overlap[:1]
    benchmark(tmp_path, "Another text.")
    assert identity(config) != first


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Any]]:
    return steps(configured(overlap=[benchmark(tmp_path_factory.mktemp("bench"))], names=True))


PARTS = st.sampled_from(
    ["CafÃ© ", "a\r\nb ", "x@example.org ", "+49 30 1234567 ", "The river runs under the old bridge in the morning. ",
     "今天天气很好。", "\u202e", " ", "Hi Anna, ", "4111 1111 1111 1111 ", "Ce matin, je vais au marché. "]
)  # fmt: skip
TEXTS = st.lists(PARTS, max_size=6).map("".join)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=TEXTS, reply=TEXTS, key=TEXTS)
@example(text="", reply="Ce matin, je vais au marché. " * 3, key="Hi Anna, ")
def test_a_step_changes_no_row_that_it_is_given_and_says_the_same_again(
    text: str, reply: str, key: str, every: list[tuple[str, Any]]
) -> None:
    row = Row("rows:1", {"text": text, "source": "en", "target": "fr", "glossary": {key: "b"}}, reply, "g", "s")
    for name, step in every:
        before = copy.deepcopy(row)
        outcome = step(row)
        assert row == before
        assert step(row) == outcome
        assert bool(outcome.rows) != bool(outcome.reason)
        if not outcome.rows:
            return
        (after,) = outcome.rows
        assert (after == row) == (not outcome.changes)
        assert (after.id, after.group, after.source) == (row.id, row.group, row.source)
        assert set(after.request) == set(row.request)
        if name in ("repair", "normalize", "personal_data"):
            assert step(after).changes == ()
        row = after
