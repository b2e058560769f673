"""What one optimizer step sees: which examples, in which forward passes, padded how.

A step always takes the same examples, drawn at random, whatever the memory allows. Within the step they are sorted by
length and cut into passes of at most ``tokens`` padded tokens; their gradients add up to that of the whole step, as the
loss is divided by the number of trained tokens of the step and not of the pass. So sorting by length costs nothing of
the randomness, as grouping across steps does, and a smaller memory changes the time and not the result.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from finetune.training.examples import Example, Examples

__all__ = ["IGNORED", "Collator", "Steps", "cut"]

IGNORED = -100
"""Target of a token that carries no loss, as torch's cross entropy has it."""


class Steps(torch.utils.data.Sampler[list[int]]):
    """The examples of every optimizer step of an epoch, this process's share of them.

    Args:
        count: Examples.
        size: Examples of one step, all processes together.
        seed: Order of the examples, another one in each epoch.
        rank: Number of this process.
        processes: How many there are.
    """

    def __init__(self, count: int, size: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        self._count, self._size, self._seed = count, size, seed
        self._rank, self._processes = rank, processes
        self._epoch = 0
        # Trainer tells the epoch to what it finds below accelerate's wrapper of a batch sampler; here is no wrapper.
        self.batch_sampler = self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose steps come next."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-self._count // self._size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(self._count, generator=generator).tolist()
        for start in range(0, self._count, self._size):
            yield order[start : start + self._size][self._rank :: self._processes]


class Collator:
    """Turns the examples of a step into the inputs of its forward passes.

    Args:
        examples: The examples.
        tokens: Most padded tokens of one pass; a longer example has a pass of its own.
        pad: Id to pad with; behind the last token of a row, so that no token of it sees it, and never a target.
        packed: Lay the examples of a pass end to end in one row, behind the tokens that all of them begin with (the
            system message, the instruction), which are then computed once. A mask keeps each example to itself and
            that beginning, so that the gradient is the same.
    """

    def __init__(self, examples: Examples, tokens: int, pad: int, *, packed: bool = False) -> None:
        self._examples, self._tokens, self._pad, self._packed = examples, tokens, pad, packed

    def __call__(self, places: Sequence[int]) -> dict[str, Any]:
        """The passes of a step.

        Returns:
            ``passes``: for each the tensors ``input_ids`` and ``targets`` (rows, columns), and where rows are laid end
            to end ``position_ids`` and ``attention_mask``; for an encoder–decoder model the inputs of both sides;
            ``read``: its tokens without padding.
            ``trained``: number of targets in all of them, ``read``: tokens of all of them.
        """
        examples = [self._examples[place] for place in places]
        if not examples:  # fewer examples than processes are left: this one reads one, for nothing
            first = self._examples[0]
            examples = [Example(first.tokens, first.labels & False, first.encoder)]
        lengths = [len(each.tokens) + (len(each.encoder) if each.encoder is not None else 0) for each in examples]
        passes = [
            {
                **self._padded([examples[place] for place in bundle]),
                "read": torch.tensor(sum(lengths[place] for place in bundle)),
            }
            for bundle in cut(lengths, self._tokens, self._packed)
        ]
        trained = sum(int((each["targets"] != IGNORED).sum()) for each in passes)
        return {"passes": passes, "trained": torch.tensor(trained), "read": torch.tensor(sum(lengths))}

    def _padded(self, examples: list[Example]) -> dict[str, Any]:
        if examples[0].encoder is not None:
            return self._pair(examples)
        # The last token is never read: nothing has to be said after it.
        rows = [torch.from_numpy(each.tokens[:-1].astype("int64")) for each in examples]
        targets = [_targets(each) for each in examples]
        if self._packed:
            return _packed(rows, targets)
        # Padding comes last, where no token of a row looks: so causal attention needs no mask, without which CUDA has
        # faster kernels and none whose gradients are wrong (see trainer.py).
        width = max(map(len, rows))
        return {
            "input_ids": torch.stack([_right(row, width, self._pad) for row in rows]),
            "targets": torch.stack([_right(row, width, IGNORED) for row in targets]),
        }

    def _pair(self, examples: list[Example]) -> dict[str, Any]:
        encoders = [torch.from_numpy(each.encoder.astype("int64")) for each in examples if each.encoder is not None]
        decoders = [torch.from_numpy(each.tokens[:-1].astype("int64")) for each in examples]
        width, length = max(map(len, encoders)), max(map(len, decoders))
        return {
            "input_ids": torch.stack([_right(row, width, self._pad) for row in encoders]),
            "attention_mask": torch.stack([_right(torch.ones_like(row), width, 0) for row in encoders]),
            "decoder_input_ids": torch.stack([_right(row, length, self._pad) for row in decoders]),
            "targets": torch.stack([_right(_targets(each), length, IGNORED) for each in examples]),
        }


def cut(lengths: Sequence[int], tokens: int, packed: bool = False) -> list[list[int]]:
    """Places of the examples of each pass: similar in length, at most ``tokens`` together with their padding."""
    bundles: list[list[int]] = []
    room = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        longest = lengths[place] if packed or not bundles else lengths[bundles[-1][0]]
        if bundles and longest <= room:
            bundles[-1].append(place)
            room -= longest
        else:
            bundles.append([place])
            room = tokens - lengths[place]
    return bundles


def _packed(rows: list[torch.Tensor], targets: list[torch.Tensor]) -> dict[str, Any]:
    """One row of all examples: the beginning that they share, then the rest of each."""
    shared = _shared(rows, targets)
    rest = [row[shared:] for row in rows]
    owner = torch.cat(
        [torch.zeros(shared, dtype=torch.long)]
        + [torch.full((len(row),), number) for number, row in enumerate(rest, 1)]
    )
    positions = torch.cat([torch.arange(shared)] + [torch.arange(shared, shared + len(row)) for row in rest])
    same = (owner[:, None] == owner[None]) | (owner[None] == 0)
    return {
        "input_ids": torch.cat([rows[0][:shared], *rest])[None],
        "position_ids": positions[None],
        "attention_mask": (same & torch.ones(same.shape, dtype=torch.bool).tril())[None, None],
        # Where all rows begin alike there are no targets.
        "targets": torch.cat([targets[0][:shared], *(row[shared:] for row in targets)])[None],
    }


def _shared(rows: list[torch.Tensor], targets: list[torch.Tensor]) -> int:
    """Tokens that all rows begin with, none of which has a target."""
    length = min(len(row) for row in rows) - 1
    first = torch.stack([row[:length] for row in rows])
    told = torch.stack([row[:length] for row in targets])
    differ = ((first != first[0]) | (told != IGNORED)).any(0).nonzero()
    return int(differ[0]) if len(differ) else length


def _targets(example: Example) -> torch.Tensor:
    """What the model should say after each token that it reads."""
    targets = torch.from_numpy(example.tokens[1:].astype("int64"))
    return targets.masked_fill(~torch.from_numpy(example.labels[1:].copy()), IGNORED)


def _right(row: torch.Tensor, width: int, filling: int) -> torch.Tensor:
    return torch.nn.functional.pad(row, (0, width - len(row)), value=filling)
