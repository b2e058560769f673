"""``prepare``: raw rows in, train, validation and test.jsonl out, and a ledger that accounts for every row.

Three phases. Each source is cut into blocks, and processes put every row of a block through the steps that look at one
row; duplicates are looked for among all rows; the rows are written in order. Each block, and the result of each phase,
appears by one rename in a folder that is named after everything that decides the result. So a run that was killed is
continued by the same command, with nothing lost, nothing double, and never with rows of another configuration.
"""

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from finetune.data import page
from finetune.data.blocks import FinishedBlock, Job, json_line, private_file
from finetune.data.config import DataConfig
from finetune.data.deciding import decide
from finetune.data.identity import identity
from finetune.data.ledger import Ledger, SourceEntry
from finetune.data.progress import RowProgress
from finetune.data.rendering import Renderer
from finetune.data.results import WORK, publish, whole_result
from finetune.data.shapes import check_columns
from finetune.data.sources import OpenSource, open_sources
from finetune.data.workers import processes_for, work_all
from finetune.data.writing import write
from pipelines.errors import CinquainError, InputError
from pipelines.home import disk_errors, exclusive, require_space, write_atomically
from pipelines.provenance import environment

__all__ = ["Plan", "plan", "prepare"]

_PACKAGES = (
    "transformers", "tokenizers", "numpy", "ftfy", "py3langid", "phonenumbers", "python-stdnum", "rensa", "xxhash",
    "datasets", "pyarrow",
)  # fmt: skip


class Plan:
    """What is to be done, once the sources are open and the model's tokenizer is loaded.

    Args:
        config: What is to be done.
        out: Folder of the result.

    Attributes:
        sources: The opened sources, in order.
        renderer: How the model reads rows.
        identity: Hash over everything that decides the result.
        work: Folder for the unfinished work.

    Raises:
        InputError: A source is not there or of no known format, a column or a model is none.
    """

    def __init__(self, config: DataConfig, out: Path) -> None:
        if config.split.validation + config.split.test >= 1:
            raise InputError("data_split_all", validation=config.split.validation, test=config.split.test)
        for source in config.sources:
            check_columns(source, config.task)
        self.config, self.out = config, out
        self.sources: list[OpenSource] = open_sources(list(config.sources))
        self.renderer = Renderer.load(config.model, config.task)
        self.identity = identity(config, self.sources, self.renderer)
        self.work = out / WORK / self.identity[:16]

    def jobs(self) -> list[Job]:
        """All blocks, in order, with their folders; what has to be copied is."""
        found: list[Job] = []
        for place, source in enumerate(self.sources):
            for block in source.blocks(self.work / "copies" / str(place)):
                found.append((block, self.work / "blocks" / f"{place:04d}-{block.number:08d}"))
        return found


def plan(config: DataConfig, out: Path) -> Plan:
    """Open the sources, load the tokenizer, and find out what the result will depend on."""
    return Plan(config, Path(out))


def prepare(
    config: DataConfig,
    out: Path,
    *,
    processes: int | None = None,
    overwrite: bool = False,
    progress: RowProgress | None = None,
    language: str = "en",
) -> Ledger:
    """Prepare data for training.

    The result is the same for any number of processes, and after any number of interruptions.

    Args:
        config: What is to be done.
        out: Folder for the result: train.jsonl, validation.jsonl and test.jsonl, as far as they have rows; ledger.json
            and ledger.html; and, readable by their owner only, rejected.jsonl, redactions.jsonl and samples.json.
        processes: How many work at once; as many as there are cores where None, and this one alone for little data.
        overwrite: Put the result in the place of another one. That stays whole until the new one is.
        progress: Where it is shown how far the work is.
        language: Of ledger.html: ``en`` or ``zh``.

    Returns:
        The ledger; that of the finished result where there is nothing left to do.

    Raises:
        InputError: A source cannot be used, rows are too long (``data_too_long``), none is left (``data_no_rows``), or
            ``out`` holds something else.
        CinquainError: Another preparation works on ``out`` (``data_in_use``), a process died, the disk is full.
    """
    progress = progress or RowProgress(quiet=True)
    began = time.monotonic()
    planned = plan(config, out)
    out = planned.out
    with exclusive(out / ".prepare.lock", CinquainError("data_in_use", out=str(out))):
        try:
            staged = planned.work / "result"
            if not (staged / "ledger.json").is_file():
                if ledger := whole_result(out, planned.identity, overwrite=overwrite):
                    shutil.rmtree(out / WORK, ignore_errors=True)  # of a run that was killed at its very end
                    progress.say("data_nothing_to_do", out=str(out))
                    return ledger
                _stage(planned, staged, processes, progress, language, began)
            return publish(staged, out)
        except KeyboardInterrupt:
            progress.say("data_go_on", out=str(out))
            raise


def _stage(
    planned: Plan, staged: Path, processes: int | None, progress: RowProgress, language: str, began: float
) -> None:
    """Make the whole result in the work folder."""
    config = planned.config
    seconds = {"opening": time.monotonic() - began}
    with disk_errors(planned.work):
        if not planned.work.exists():
            # What the blocks take, and what the result takes beside them.
            require_space(planned.out, 2 * sum(source.stamp[0] for source in planned.sources))
            planned.work.parent.mkdir(mode=0o700, exist_ok=True)
        (planned.work / "blocks").mkdir(parents=True, exist_ok=True)
        for left_over in (planned.work / "blocks").glob(".*.tmp"):
            shutil.rmtree(left_over)
    began = time.monotonic()
    progress.say("data_reading", sources=[source.name for source in planned.sources])
    jobs = planned.jobs()
    seconds["reading"] = time.monotonic() - began
    began = time.monotonic()
    processes = processes or processes_for([block for block, _ in jobs])
    _work(planned, jobs, processes, progress)
    blocks = [FinishedBlock(folder) for _, folder in jobs]
    try:
        _require_rows(config, blocks)
    except InputError:
        shutil.rmtree(planned.work, ignore_errors=True)  # nothing of it can be used: another try is another work
        raise
    seconds["rows"] = time.monotonic() - began
    began = time.monotonic()
    progress.say("data_duplicates")
    by_name = {opened.name: opened.source for opened in planned.sources}
    of_source = [(by_name[block.source], done) for (block, _), done in zip(jobs, blocks, strict=True)]
    counts, decided = decide(config, of_source, planned.work / "duplicates.npy")
    seconds["duplicates"] = time.monotonic() - began
    began = time.monotonic()
    progress.say("data_writing")
    with disk_errors(staged):
        shutil.rmtree(staged, ignore_errors=True)  # a part, of a run that was killed
        staged.mkdir(mode=0o700)
    entries = [SourceEntry(source.name, source.source.path, source.format, source.sha256) for source in planned.sources]
    ledger, samples = write(config, entries, blocks, counts, decided, staged)
    seconds["writing"] = time.monotonic() - began
    ledger.provenance = {
        "identity": planned.identity,
        "prompt_sha256": planned.renderer.prompt.digest(getattr(planned.renderer.tokenizer, "chat_template", "") or ""),
        **environment(),
        "packages": {name: version(name) for name in _PACKAGES},
        "command": sys.argv,
        "processes": processes,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }
    with disk_errors(staged):
        with private_file(staged / "samples.json") as file:
            file.write(json_line(samples))
        with private_file(staged / "ledger.html") as file:
            file.write(page.render(ledger, samples, language).encode("utf-8", "replace"))
    write_atomically(staged / "ledger.json", json.dumps(ledger.to_json(), ensure_ascii=False, indent=1) + "\n")


def _work(planned: Plan, jobs: Sequence[Job], processes: int, progress: RowProgress) -> None:
    left = [job for job in jobs if not job[1].is_dir()]
    sources = {source.name: source for source in planned.sources}
    with (
        progress.blocks("data_rows", len(jobs), len(jobs) - len(left)) as advance,
        closing(work_all(planned.config, sources, left, processes, planned.renderer)) as done,
    ):
        for block in done:
            advance(block.about()["read"])


def _require_rows(config: DataConfig, blocks: Sequence[FinishedBlock]) -> None:
    """See that rows are left, and that none was too long where that is an error.

    Raises:
        InputError: ``data_no_records``; ``data_too_long`` with how many there are and the longest; ``data_no_rows``
            with the main reason.
    """
    read, kept, over, longest = 0, 0, 0, 0
    reasons: Counter[str] = Counter()
    example: dict[str, Any] = {}
    for block in blocks:
        about = block.about()
        read += about["read"]
        for name, step in about["steps"].items():
            reasons.update({f"{name}.{reason}": count for reason, count in step.dropped.items()})
        kept += about["steps"]["too_long"].left
        over += about["steps"]["too_long"].dropped["too_long"]
        longest = max(longest, about["longest"])
        example = {**{kind: samples[0] for kind, samples in about["samples"].items() if samples}, **example}
    if not read:
        raise InputError("data_no_records", path=[source.path for source in config.sources])
    if config.too_long == "error" and over:
        raise InputError("data_too_long", rows=over, read=read, longest=longest)
    if not kept:
        (reason, count), *_ = reasons.most_common(1)
        details = example.get(reason, {}).get("details", {})
        shown = [f"{name}: {value}" for name, value in details.items()]
        raise InputError("data_no_rows", read=read, count=count, reason=reason, details=shown or "–")
