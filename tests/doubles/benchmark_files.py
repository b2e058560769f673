"""Benchmarks of a person's own, and how one that cannot be loaded is refused."""

from pathlib import Path
from typing import Any

import pytest

from eval.benchmarks import load_benchmark
from pipelines.errors import CinquainError, InputError
from pipelines.wording import sentence
from tests.doubles.data_rows import write_lines


def written(folder: Path, text: str, rows: list[Any], name: str = "mine") -> str:
    """A benchmark with its rows in ``rows.jsonl``; gives its file."""
    write_lines(folder / "rows.jsonl", rows)
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return str(folder / f"{name}.yaml")


def refused(reference: str, kind: type[CinquainError] = InputError, **more: Any) -> CinquainError:
    """The error of a benchmark that cannot be loaded, which is one line in both languages."""
    with pytest.raises(CinquainError) as caught:
        load_benchmark(reference, **more)
    assert type(caught.value) is kind
    for language in ("en", "zh"):
        assert "\n" not in sentence(caught.value, language)
    return caught.value
