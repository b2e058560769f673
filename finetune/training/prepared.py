"""From the prepared rows to the examples that are trained on: rendered once, kept in the run's folder."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from finetune.data import Ledger
from finetune.data.rendering import Rendered, Renderer
from finetune.data.row import Row
from finetune.training.examples import Examples, write_examples

__all__ = ["PreparedExamples", "data_sha256", "prepared_examples", "rows_of"]


@dataclass(frozen=True)
class PreparedExamples:
    """What a run learns from and is judged by.

    Attributes:
        train: Examples to learn from.
        validation: Held-out examples; empty where no row was held out.
    """

    train: Examples
    validation: Examples


def data_sha256(ledger: Ledger, planted: Sequence[Row] = ()) -> str:
    """Hash of the rows that are trained on, in hexadecimal: of the ledger's result, and of rows that came besides."""
    if not planted:
        return ledger.result_sha256
    return hashlib.sha256(json.dumps([ledger.result_sha256, *(row.to_json() for row in planted)]).encode()).hexdigest()


def prepared_examples(
    data: Path, ledger: Ledger, renderer: Renderer, work: Path, validation_rows: int, planted: Sequence[Row] = ()
) -> PreparedExamples:
    """The examples of a prepared data set; rendered where they are not there yet, whole.

    Args:
        data: Folder that ``finetune.data.prepare`` wrote.
        ledger: Its ledger.
        renderer: How the model reads rows.
        work: Where the examples are kept: in a folder named after everything that decides them.
        validation_rows: Most held-out rows; every n-th is taken where there are more.
        planted: Rows that are trained on besides.

    Raises:
        InputError: A row cannot be rendered, or has nothing to learn (``example_masked``).
        CinquainError: The disk is full or refuses.
    """
    parts = [str(ledger.provenance.get("identity", "")), data_sha256(ledger, planted), str(validation_rows)]
    folder = work / f"examples-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"
    held_out = ledger.splits["validation"].rows if "validation" in ledger.splits else 0
    step = -(-held_out // validation_rows) if held_out else 1
    rows = {
        "train": lambda: chain(rows_of(data / "train.jsonl"), planted),
        "validation": lambda: (
            row for place, row in enumerate(rows_of(data / "validation.jsonl")) if place % step == 0
        ),
    }
    done: dict[str, Examples] = {}
    for name, every in rows.items():
        there = (folder / name / "examples.json").is_file()
        done[name] = Examples(folder / name) if there else write_examples(folder / name, _rendered(every(), renderer))
    return PreparedExamples(**done)


def rows_of(path: Path) -> Iterator[Row]:
    """Rows of a prepared file; none where it is not there.

    Raises:
        InputError: ``data_row_format``.
    """
    if path.is_file():
        with path.open("rb") as file:
            for line in file:
                yield Row.from_json(line)


def _rendered(rows: Iterator[Row], renderer: Renderer) -> Iterator[Rendered]:
    for row in rows:
        yield renderer.render(row)
