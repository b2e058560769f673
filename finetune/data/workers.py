"""Processes that work on blocks, as many as there are cores, a few blocks ahead and no more."""

import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from finetune.data import sources
from finetune.data.blocks import FinishedBlock, Job, RowWorker
from finetune.data.config import DataConfig
from finetune.data.records import Block
from finetune.data.rendering import Renderer
from finetune.data.sources import OpenSource
from pipelines.errors import CinquainError

__all__ = ["processes_for", "work_all"]

_FEW = 2.5
"""Whole blocks (of 8 MB) that this process does alone: another one takes as long to start as a part of one takes."""

_job: tuple[DataConfig, dict[str, OpenSource]] | None = None
_worker: RowWorker | None = None


def processes_for(blocks: Sequence[Block]) -> int:
    """How many processes are worth their start for these blocks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Each source has a block of its own, however small it is; a row group of a Parquet file is a block of any size.
    whole = sum(1.0 if block.parquet else (block.end - block.start) / sources.BLOCK_BYTES for block in blocks)
    return 1 if whole < _FEW else min(cores, len(blocks))


def work_all(
    config: DataConfig, opened: dict[str, OpenSource], jobs: Sequence[Job], processes: int, renderer: Renderer
) -> Generator[FinishedBlock, None, None]:
    """Do all blocks; yields them as they are done, in any order. Close it to stop the work at once.

    Args:
        config: What is to be done.
        opened: The opened sources, by name.
        jobs: The blocks that are to be done, with their folders.
        processes: How many work at once; 1 works in this process.
        renderer: What this process has loaded; others load their own.

    Raises:
        CinquainError: ``data_worker_died``, or whatever a block raises.
    """
    if not jobs:
        return
    if processes == 1:
        worker = RowWorker(config, opened, renderer)
        for block, folder in jobs:
            yield worker.work(block, folder)
        return
    # Spawned, not forked: torch's and the tokenizers' threads do not survive a fork.
    context = get_context("spawn")
    # Nothing is ever sent: the workers end when this end closes, be it here or because this process was killed.
    ours, theirs = context.Pipe()
    pool = ProcessPoolExecutor(processes, context, _start, (config, opened, theirs))
    waiting: set[Future[FinishedBlock]] = set()
    try:
        for block, folder in jobs:
            with _no_interrupt():
                waiting.add(pool.submit(_work, block, folder))
            if len(waiting) >= 2 * processes:
                yield from _ended(waiting)
        while waiting:
            yield from _ended(waiting)
    except BrokenProcessPool as error:
        raise CinquainError("data_worker_died", processes=processes) from error
    except BaseException:
        ours.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        ours.close()
        theirs.close()


def _ended(waiting: set[Future[FinishedBlock]]) -> Iterator[FinishedBlock]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        waiting.discard(future)
        yield future.result()


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal: those that start in here never hear it, this one a moment later."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(config: DataConfig, sources: dict[str, OpenSource], parent: Connection) -> None:
    """Run once in each worker."""
    global _job
    _job = config, sources
    # One thread for each process: there are as many processes as cores.
    os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1", OMP_NUM_THREADS="1")
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Connection) -> None:
    """End this process, whatever it is doing, when the other end of the pipe closes."""
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def _work(block: Block, folder: Path) -> FinishedBlock:
    global _worker
    assert _job is not None
    # Loaded here, not at the start, where a pool would hide what went wrong.
    _worker = _worker or RowWorker(*_job)
    return _worker.work(block, folder)
