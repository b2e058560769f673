"""The last phase: the rows of all blocks, in order, into the files that a person gets, and the ledger over them."""

import hashlib
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from finetune.data.blocks import SAMPLES, FinishedBlock, excerpt, json_line, private_file
from finetune.data.config import DataConfig
from finetune.data.deciding import SPLITS, Decided
from finetune.data.ledger import Ledger, SourceEntry, SplitEntry, StepEntry, merged
from finetune.data.row import Row
from pipelines.errors import CinquainError
from pipelines.home import disk_errors

__all__ = ["write"]

_DUPLICATES = ("exact_duplicates", "near_duplicates")


def write(
    config: DataConfig,
    sources: Sequence[SourceEntry],
    blocks: Sequence[FinishedBlock],
    counts: np.ndarray,
    decided: Iterable[Decided],
    folder: Path,
) -> tuple[Ledger, dict[str, list[dict[str, Any]]]]:
    """Write train, validation and test.jsonl (those that have rows), rejected.jsonl and redactions.jsonl.

    Args:
        config: What is to be done.
        sources: What was read.
        blocks: All finished blocks, in order.
        counts: Rows of each.
        decided: What was decided on each, in the same order.
        folder: A folder that is there and empty.

    Returns:
        The ledger, still without provenance, and samples of what each step changed and dropped.

    Raises:
        CinquainError: The disk is full; ``data_sums`` where the sums of the ledger do not close.
    """
    with disk_errors(folder), ExitStack() as files:
        writer = _Writer(config, sources, blocks, counts, folder, files)
        for block in blocks:
            writer.first_phase(block)
        for each in decided:
            writer.rows(each)
        writer.flush()
    ledger = writer.ledger()
    if problems := ledger.problems():
        raise CinquainError("data_sums", problems=problems)
    return ledger, writer.samples


class _Writer:
    def __init__(
        self,
        config: DataConfig,
        sources: Sequence[SourceEntry],
        blocks: Sequence[FinishedBlock],
        counts: np.ndarray,
        folder: Path,
        files: ExitStack,
    ) -> None:
        self._config, self._sources, self._folder, self._open = config, sources, folder, files
        self._by_name = {source.name: source for source in sources}
        self._line = _lines_of(blocks, counts)
        self._files: dict[str, IO[bytes]] = {}
        self._digests: dict[str, Any] = {}
        self._rejected = files.enter_context(private_file(folder / "rejected.jsonl"))
        self._redactions = files.enter_context(private_file(folder / "redactions.jsonl"))
        self._splits = {name: SplitEntry() for name in SPLITS}
        self._steps: list[dict[str, StepEntry]] = []
        names = [*_DUPLICATES] if config.duplicates.near is not None else [_DUPLICATES[0]]
        if any(source.use != "split" for source in config.sources):
            names.append("held_out_groups")
        if any(source.weight != 1.0 for source in config.sources):
            names.append("weights")
        self._late = {name: StepEntry() for name in names}
        self._tokens_before = 0
        self._lengths: Counter[int] = Counter()
        self._languages: Counter[str] = Counter()
        self.samples: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def first_phase(self, block: FinishedBlock) -> None:
        """Take over what the steps on single rows dropped, redacted and counted in a block."""
        about = block.about()
        self._by_name[about["source"]].read += about["read"]
        self._steps = [merged([*self._steps, about["steps"]])]
        self._tokens_before += about["tokens_before"]
        for kind, samples in about["samples"].items():
            self.samples[kind] += samples[: SAMPLES - len(self.samples[kind])]
        for name, to in (("rejected", self._rejected), ("redactions", self._redactions)):
            with (block.folder / f"{name}.jsonl").open("rb") as file:
                shutil.copyfileobj(file, to, 1 << 20)

    def rows(self, decided: Decided) -> None:
        """Write the rows of a block to where they go."""
        rows = decided.block.rows()
        source = self._by_name[decided.block.about()["source"]]
        with (decided.block.folder / "rows.jsonl").open("rb") as file:
            start = 0
            steps = zip(
                rows["end"].tolist(),
                decided.parts.tolist(),
                decided.copies.tolist(),
                decided.twins.tolist(),
                decided.exact.tolist(),
                decided.held_out.tolist(),
                decided.straddling.tolist(),
                strict=True,
            )
            for end, part, copies, twin, exact, held_out, straddling in steps:
                line = file.read(end - start)
                start = end
                if twin >= 0:
                    self._drop(_DUPLICATES[not exact], "held_out" if held_out else "duplicate", line, twin)
                elif straddling:
                    self._drop("held_out_groups", "group", line)
                elif copies:
                    self._write(SPLITS[part], line, copies)
                else:
                    self._drop("weights", "weight", line)
        source.kept += int(decided.copies.sum())
        self._count(rows, decided)

    def flush(self) -> None:
        """Bring everything to the disk."""
        for file in (*self._files.values(), self._rejected, self._redactions):
            file.flush()
            os.fsync(file.fileno())

    def ledger(self) -> Ledger:
        """The account of everything that was written."""
        for name, digest in self._digests.items():
            self._splits[name].sha256 = digest.hexdigest()
        steps = merged([*self._steps, self._late])
        counted = steps["too_long"]
        over_long = counted.dropped["too_long"] + counted.dropped["not_splittable"] + counted.changes["split"]
        written = {name: entry.sha256 for name, entry in self._splits.items()}
        return Ledger(
            task=self._config.task,
            steps=steps,
            sources=list(self._sources),
            splits=self._splits,
            tokens={
                "before": self._tokens_before,
                "after": sum(entry.tokens for entry in self._splits.values()),
                "model": self._config.model,
                "max_tokens": self._config.max_tokens,
                "over_long": over_long,
                "eos_lost_share": over_long / counted.entered if counted.entered else 0.0,
            },
            lengths={str(size): self._lengths[size] for size in sorted(self._lengths)},
            languages=dict(sorted(self._languages.items(), key=lambda item: (-item[1], item[0]))),
            result_sha256=hashlib.sha256(json.dumps(written).encode()).hexdigest(),
            config=self._config.model_dump(mode="json"),
        )

    def _write(self, split: str, line: bytes, copies: int) -> None:
        if split not in self._files:
            path = self._folder / f"{split}.jsonl"
            self._files[split] = self._open.enter_context(path.open("wb"))
            self._digests[split] = hashlib.sha256()
        lines = [line]
        if copies > 1:
            row = Row.from_json(line)
            lines += [json_line(replace(row, id=f"{row.id}#{copy}").__dict__) for copy in range(2, copies + 1)]
        for each in lines:
            self._files[split].write(each)
            self._digests[split].update(each)

    def _drop(self, step: str, reason: str, line: bytes, twin: int = -1) -> None:
        row = json.loads(line)
        other = json.loads(self._line(twin)) if twin >= 0 else None
        details = {"twin": other["id"]} if other else {}
        self._rejected.write(
            json_line({"id": row["id"], "step": step, "reason": reason, "details": details, "row": row})
        )
        self._late[step].dropped[reason] += 1
        samples = self.samples[f"{step}.{reason}"]
        if len(samples) < SAMPLES:
            before, after = (excerpt([each["request"], each["reply"]]) if each else None for each in (row, other))
            samples.append({"id": row["id"], "before": before, "after": after, "details": details})

    def _count(self, rows: np.ndarray, decided: Decided) -> None:
        """Enter a block in the sums; the reasons of what was dropped are entered as it is written."""
        twins, copies = decided.twins >= 0, decided.copies
        left = len(rows)
        for step, gone in zip(_DUPLICATES, (decided.exact, twins & ~decided.exact), strict=True):
            if step in self._late:
                self._late[step].entered += left
                left -= int(gone.sum())
                self._late[step].left += left
        if groups := self._late.get("held_out_groups"):
            groups.entered += left
            left -= int(decided.straddling.sum())
            groups.left += left
        if weights := self._late.get("weights"):
            weights.entered += left
            weights.added += int((copies - 1)[copies > 1].sum())
            weights.left += int(copies.sum())
        for place, name in enumerate(SPLITS):
            mine = np.where(decided.parts == place, copies, 0)
            entry = self._splits[name]
            entry.rows += int(mine.sum())
            entry.tokens += int((rows["tokens"] * mine).sum())
            entry.trained_tokens += int((rows["trained"] * mine).sum())
            entry.characters += int((rows["characters"] * mine).sum())
        powers = 1 << np.ceil(np.log2(np.maximum(rows["tokens"], 1))).astype(np.int64)
        for counter, values in ((self._lengths, powers), (self._languages, rows["language"].astype(str))):
            kinds, places = np.unique(values, return_inverse=True)
            sums = np.bincount(places, copies, len(kinds)).astype(int)
            for kind, count in zip(kinds.tolist(), sums.tolist(), strict=True):
                if count:
                    counter[kind] += count


def _lines_of(blocks: Sequence[FinishedBlock], counts: np.ndarray) -> Callable[[int], bytes]:
    """Reads the line of any row, by its place among the rows of all blocks."""
    starts = np.concatenate([[0], np.cumsum(counts)])

    @lru_cache(maxsize=64)
    def ends(number: int) -> np.ndarray:
        return np.concatenate([[0], blocks[number].rows()["end"]])

    def line(row: int) -> bytes:
        number = int(np.searchsorted(starts, row, side="right")) - 1
        place = row - int(starts[number])
        start, end = ends(number)[place : place + 2].tolist()
        with (blocks[number].folder / "rows.jsonl").open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    return line
