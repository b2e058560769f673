"""The first phase on many machines: datatrove's executors run the same steps on the same blocks.

Everything below ``out`` must lie on a disk that all machines share, and so must the sources. On Slurm, after
``pip install cinquain[scale]``::

    from datatrove.executor import SlurmPipelineExecutor
    from finetune.data.prepare import prepare
    from finetune.data.scale import Blocks

    blocks = Blocks(config, out)
    SlurmPipelineExecutor([blocks], tasks=64, time="04:00:00", partition="cpu", logging_dir=blocks.logs).run()
    prepare(config, out)  # when the tasks are done: finds duplicates and writes the result

``RayPipelineExecutor`` and ``LocalPipelineExecutor`` take the same object. Tasks that fail are started anew by the same
lines; blocks that are done are not done twice, and ``prepare`` does those that are missing.
"""

from pathlib import Path
from typing import Any

from finetune.data.blocks import RowWorker
from finetune.data.config import DataConfig
from finetune.data.prepare import plan
from finetune.data.results import whole_result

__all__ = ["Blocks"]


class Blocks:
    """A step of a datatrove pipeline: of ``world_size`` tasks, each does every ``world_size``-th block.

    Args:
        config: What is to be done.
        out: Folder for the result.
        overwrite: Whether ``prepare`` is going to replace another result there.

    Attributes:
        logs: Folder for datatrove's own notes of what is done; it belongs to this work and goes with it.

    Raises:
        InputError: As ``prepare``.
    """

    def __init__(self, config: DataConfig, out: Path, *, overwrite: bool = False) -> None:
        planned = plan(config, Path(out).absolute())
        self._config = config
        self._sources = {source.name: source for source in planned.sources}
        done = whole_result(planned.out, planned.identity, overwrite=overwrite)
        self._jobs = [] if done else planned.jobs()
        self.logs = str(planned.work / "datatrove")

    def __call__(self, data: Any, rank: int, world_size: int) -> Any:
        """Do the blocks of a task; datatrove calls it in the process of the task."""
        missing = [job for job in self._jobs[rank::world_size] if not job[1].is_dir()]
        if missing:
            worker = RowWorker(self._config, self._sources)
            for block, folder in missing:
                worker.work(block, folder)
        return data
