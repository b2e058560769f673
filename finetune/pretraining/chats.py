"""The second training's rows: prepared as those of an adapter, rendered as serving sends them, padded to passes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from finetune.data import DataConfig, Split
from finetune.data.config import Source
from finetune.data.opening import SHIPPED, file_source
from finetune.data.prepare import prepare
from finetune.data.progress import RowProgress
from finetune.data.rendering import Renderer
from finetune.pretraining.learning import IGNORED, Batch
from finetune.training.examples import Example, Examples, write_examples
from finetune.training.prepared import rows_of
from pipelines.errors import InputError

__all__ = ["Chats", "chat_texts", "order", "prepare_chats"]

_MULTIPLE = 32
"""Passes are as wide as a multiple of this: fewer widths, for which kernels are chosen anew each."""


@dataclass(frozen=True)
class Chats:
    """Rendered rows of all tasks.

    Attributes:
        train: Rows to learn from.
        held_out: Rows to judge by, by task.
        rows: Task → kept rows of each part, and how many were dropped.
        sha256: Task → hash of its prepared rows.
        pad: Token that pads.
    """

    train: list[Examples]
    held_out: dict[str, Examples]
    rows: dict[str, dict[str, int]]
    sha256: dict[str, str]
    pad: int

    def __len__(self) -> int:
        return sum(map(len, self.train))

    def example(self, place: int) -> Example:
        """The training row of a number, of all tasks in their order."""
        for part in self.train:
            if place < len(part):
                return part[place]
            place -= len(part)
        raise IndexError(place)

    def passes(self, places: Sequence[int], pass_tokens: int) -> Batch:
        """Training rows as padded passes, rows of like length together.

        Args:
            places: Numbers of the rows.
            pass_tokens: Most padded tokens of a pass; a longer row is a pass of its own.
        """
        return _padded([self.example(place) for place in places], pass_tokens, self.pad)

    def judged(self, task: str, pass_tokens: int) -> Batch:
        """All held-out rows of a task as padded passes."""
        part = self.held_out[task]
        return _padded([part[place] for place in range(len(part))], pass_tokens, self.pad)


def chat_texts(sources: dict[str, list[Source]]) -> list[str]:
    """The texts of the rows that ship, for the tokenizer to know their words."""
    found: list[str] = []
    for source in (source for each in sources.values() for source in each if source.path.startswith(SHIPPED)):
        _, path, _ = file_source(source)
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found += [*(value for value in row["request"].values() if isinstance(value, str)), row["reply"]]
    return found


def prepare_chats(
    sources: dict[str, list[Source]], model: Path, context: int, held_out: float, folder: Path, progress: RowProgress
) -> Chats:
    """Prepare and render the rows; what is there whole stays.

    Args:
        sources: Task → its sources.
        model: Folder of the model whose tokenizer and chat template they are rendered with.
        context: Most tokens of a row; longer ones are dropped, and counted.
        held_out: Share of the rows to judge by.
        folder: Where they go.
        progress: Says what goes on.

    Raises:
        InputError: A source cannot be used; ``pretrain_no_chats`` where no row is left to learn from.
    """
    train, judged, rows, sha256 = [], {}, {}, {}
    pad = 0
    for task, each in sources.items():
        config = DataConfig(
            task=task,
            sources=each,
            model=str(model),
            max_tokens=context,
            too_long="drop",
            split=Split(validation=held_out),
        )
        try:
            ledger = prepare(config, folder / task, progress=progress)
        except InputError as error:
            if error.code != "data_no_rows":
                raise
            progress.tell(error)
            rows[task] = {"train": 0, "held_out": 0}
            continue
        renderer = Renderer.load(str(model), task)
        pad = renderer.tokenizer.pad_token_id
        parts = {name: _rendered(folder / task, name, renderer) for name in ("train", "validation")}
        train.append(parts["train"])
        if len(parts["validation"]):
            judged[task] = parts["validation"]
        rows[task] = {"train": len(parts["train"]), "held_out": len(parts["validation"])}
        sha256[task] = ledger.result_sha256
    if not sum(map(len, train)):
        raise InputError("pretrain_no_chats", context=context)
    return Chats(train, judged, rows, sha256, pad)


def order(count: int, batch_size: int, step: int, seed: int) -> list[int]:
    """Numbers of the rows of a step: every row once an epoch, in an order that the epoch's number decides."""
    places: list[int] = []
    for place in range(step * batch_size, (step + 1) * batch_size):
        epoch, within = divmod(place, count)
        places.append(int(_permutation(count, seed, epoch)[within]))
    return places


_last: tuple[tuple[int, int, int], np.ndarray] | None = None


def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch; the last one is kept."""
    global _last
    if _last is None or _last[0] != (count, seed, epoch):
        _last = (count, seed, epoch), np.random.default_rng([seed, epoch]).permutation(count)
    return _last[1]


def _rendered(folder: Path, name: str, renderer: Renderer) -> Examples:
    where = folder / f"tokens-{name}"
    if (where / "examples.json").is_file():
        return Examples(where)
    return write_examples(where, map(renderer.render, rows_of(folder / f"{name}.jsonl")))


def _padded(examples: list[Example], pass_tokens: int, pad: int) -> Batch:
    waiting = sorted(examples, key=lambda example: len(example.tokens))
    passes = []
    while waiting:
        width = -(-(len(waiting[-1].tokens) - 1) // _MULTIPLE) * _MULTIPLE
        rows = [waiting.pop() for _ in range(min(len(waiting), max(1, pass_tokens // width)))]
        tokens = torch.full((len(rows), width), pad)
        targets = torch.full((len(rows), width), IGNORED)
        for number, row in enumerate(rows):
            size = len(row.tokens) - 1
            ids = torch.from_numpy(row.tokens.astype(np.int64))
            tokens[number, :size] = ids[:-1]
            targets[number, :size] = torch.where(torch.from_numpy(np.array(row.labels[1:])), ids[1:], IGNORED)
        passes.append((tokens, targets))
    return passes
