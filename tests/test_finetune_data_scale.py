"""datatrove's executors run the same steps: several tasks, a kill, and the same ledger."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.data import DataConfig
from finetune.data import sources as sources_module
from finetune.data.prepare import prepare
from pipelines.errors import InputError
from tests.doubles.data_rows import configured, content, counting_model, planted, write_lines

ROOT = Path(__file__).parent.parent

# Two processes do five tasks. The first process to finish a third block ends all of them, as a machine that goes down.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from datatrove.executor import LocalPipelineExecutor
from finetune.data import DataConfig, sources
from finetune.data.scale import Blocks

class Falling(Blocks):
    def __call__(self, data, rank, world_size):
        result = super().__call__(data, rank, world_size)
        if rank == 1:
            os.killpg(0, signal.SIGKILL)
        return result

if __name__ == "__main__":
    sources.BLOCK_BYTES = 6000
    config, out = DataConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2])
    kind = Falling if sys.argv[3] == "fall" else Blocks
    blocks = kind(config, out)
    LocalPipelineExecutor([blocks], tasks=5, workers=int(sys.argv[4]), logging_dir=blocks.logs).run()
"""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return counting_model(tmp_path_factory.mktemp("model"))


def executed(config: DataConfig, out: Path, how: str, workers: int) -> int:
    program = out.parent / "program.py"  # a file, which the executor's processes can import
    program.write_text(PROGRAM)
    call = [sys.executable, str(program), config.model_dump_json(), str(out), how, str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(call, start_new_session=True, capture_output=True, env=environment).returncode


def test_tasks_that_fall_and_start_anew_give_the_same_ledger(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(model, write_lines(tmp_path / "rows.jsonl", planted()))
    out = tmp_path / "out"
    assert executed(config, out, "fall", 1) == -signal.SIGKILL
    (work,) = (out / ".cinquain-work").iterdir()
    completed = {path.name for path in (work / "datatrove" / "completions").iterdir()}
    assert completed == {"00000"}  # datatrove starts the others anew
    done = {path.name for path in (work / "blocks").glob("[!.]*")}
    assert executed(config, out, "stand", 2) == 0
    assert len(list((work / "datatrove" / "completions").iterdir())) == 5
    assert {path.name for path in (work / "blocks").glob("[!.]*")} > done
    monkeypatch.setattr(sources_module, "BLOCK_BYTES", 6000)
    before = {path: path.stat().st_ctime_ns for path in (work / "blocks").iterdir()}
    monkeypatch.setattr("finetune.data.prepare.work_all", lambda config, sources, jobs, *rest: nothing(jobs))
    prepare(config, out)
    monkeypatch.undo()
    assert len(before) > 5
    prepare(config, tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")


def nothing(jobs: list[object]):
    """Stands where blocks are done: all of them are."""
    assert jobs == []
    yield from ()


def test_a_finished_result_needs_no_tasks_and_another_one_is_refused(model: Path, tmp_path: Path) -> None:
    from finetune.data.scale import Blocks

    path, out = write_lines(tmp_path / "rows.jsonl", planted()), tmp_path / "out"
    prepare(configured(model, path), out)
    Blocks(configured(model, path), out)(None, 0, 1)
    assert not (out / ".cinquain-work").exists()
    with pytest.raises(InputError) as caught:
        Blocks(configured(model, path, max_tokens=2000), out)
    assert caught.value.code == "data_other_result"
    assert json.loads((out / "ledger.json").read_bytes())["task"] == "summarization"
