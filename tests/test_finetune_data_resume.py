"""Killed anywhere, and started again by the same command: the same result, nothing lost, nothing double."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from finetune.data import DataConfig, Source
from finetune.data import sources as sources_module
from finetune.data.prepare import prepare
from tests.doubles.data_rows import configured, content, counting_model, planted, write_lines

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and fork")

ROOT = Path(__file__).parent.parent

PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from finetune.data import DataConfig, sources
from finetune.data.prepare import prepare
from finetune.data.progress import RowProgress
import finetune.data.rendering, transformers, rensa, pyarrow

sources.BLOCK_BYTES, sources._BLOCK_RECORDS = 6000, 30
config, out = DataConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2])
"""

# Each try is a child of one process that has everything loaded. A child ends itself, by SIGKILL, in the middle of the
# n-th thing that it does to a file of the output.
KILLED_ANYWHERE = """
# Loads all libraries. Looking for near-duplicates would start rensa's threads, which no child would have.
prepare(config.model_copy(update={"duplicates": config.duplicates.model_copy(update={"near": None})}), out / "warm")

def child(folder, kill_at):
    seen = 0
    def watch(event, arguments):
        nonlocal seen
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir") and str(folder) in repr(arguments):
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    sys.addaudithook(watch)
    prepare(config, folder, processes=1)
    (out / f"{folder.name}.events").write_text(str(seen))
    os._exit(0)

assert child(out / "whole", 0) == 0
events = int((out / "whole.events").read_text())
tries = []
for number, share in enumerate(json.loads(sys.argv[3])):
    folder = out / f"try{number}"
    kills = [round(share * events), 9 + number]  # the second one falls into what the first left
    ends = [child(folder, kill) for kill in kills]
    assert child(folder, 0) == 0
    tries.append([kills, ends])
print(json.dumps([events, tries]))
"""

WITH_WORKERS = """
class Told(RowProgress):
    def blocks(self, code, total, done):
        from contextlib import nullcontext
        print("blocks", total, done, flush=True)
        return nullcontext(lambda rows: print("rows", rows, flush=True))

if __name__ == "__main__":
    print(prepare(config, out, processes=2, progress=Told()).result_sha256, flush=True)
"""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return counting_model(tmp_path_factory.mktemp("model"))


def started(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_killed_anywhere_it_goes_on(model: Path, tmp_path: Path) -> None:
    rows = planted(130)
    first = Source(path=str(write_lines(tmp_path / "first.jsonl", rows)), weight=1.5)
    copied = Source(path=str(write_lines(tmp_path / "second.jsonl", rows[60:])), limit=60, use="test")
    config = configured(model, first, copied)
    draw = random.Random(1)
    # All over the work, and at every step of its end, where the result takes its place.
    shares = [draw.random() for _ in range(5)] + [0.85 + 0.03 * step for step in range(6)]
    with started(KILLED_ANYWHERE, config.model_dump_json(), str(tmp_path), json.dumps(shares)) as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    events, tries = json.loads(output)
    assert events > 100
    assert [ends[0] for _, ends in tries] == [signal.SIGKILL] * len(tries)
    whole = content(tmp_path / "whole")
    assert whole["ledger.json"]["steps"]["exact_duplicates"]["dropped"]["held_out"]
    for number, (kills, _) in enumerate(tries):
        assert content(tmp_path / f"try{number}") == whole, kills
        assert not (tmp_path / f"try{number}" / ".cinquain-work").exists()
    # What was done on files that a person sees is all there is: no part, no copy.
    names = {path.name for path in (tmp_path / "try0").iterdir()}
    assert names == {path.name for path in (tmp_path / "whole").iterdir()}


@pytest.fixture(scope="module")
def config_json(model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = write_lines(tmp_path_factory.mktemp("rows") / "rows.jsonl", planted(150) * 4)
    # Steps that load large libraries would only make the processes start later.
    config = configured(model, path, repair=False, language=False, personal_data="keep")
    return config.model_dump_json()


def stopped_at_work(config_json: str, out: Path, whom: str) -> tuple[list[str], int, str]:
    """Start with two workers, and once both have done something, stop one of the processes.

    Returns:
        What the program said of its blocks, its exit code and its errors.
    """
    with started(WITH_WORKERS, config_json, str(out)) as process:
        assert process.stdout is not None
        said = process.stdout.readline().split()
        assert process.stdout.readline().startswith("rows")
        children = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        if whom == "worker":
            workers[0].kill()
        elif whom == "parent":
            process.kill()
        else:  # as a terminal does it: every process of the group hears it
            for each in [*children, psutil.Process(process.pid)]:
                each.send_signal(signal.SIGINT)
        errors = process.communicate()[1]
    assert psutil.wait_procs(children, timeout=30)[1] == [], "workers outlive the program"
    return said, process.returncode, errors


def test_workers_and_parents_that_die_cost_nothing(config_json: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _, code, errors = stopped_at_work(config_json, out, "worker")
    assert code == 1
    assert errors.strip().splitlines()[-1].startswith("pipelines.errors.CinquainError: One of 2 processes was ended")
    done = [path.name for path in (out / ".cinquain-work").glob("*/blocks/[!.]*")]
    assert done
    said, code, _ = stopped_at_work(config_json, out, "parent")
    assert (said[2], code) == (str(len(done)), -signal.SIGKILL)
    config = DataConfig.model_validate_json(config_json)
    prepare(config, tmp_path / "whole")
    assert content_after(config, out) == content(tmp_path / "whole")


def content_after(config: DataConfig, out: Path) -> dict[str, Any]:
    """What a last start, in this process, makes of the work in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources_module, "BLOCK_BYTES", 6000)
        prepare(config, out, processes=1)
    return content(out)


@pytest.mark.slow
def test_ctrl_c_stops_at_once_and_says_how_to_go_on(config_json: str, tmp_path: Path) -> None:
    _, _, errors = stopped_at_work(config_json, tmp_path / "out", "all")
    assert "the same command goes on" in errors
    assert errors.count("Traceback") == 1  # the program's own: workers say nothing
    assert errors.strip().endswith("KeyboardInterrupt")


def test_a_full_disk_is_one_sentence_and_a_later_start_goes_on(model: Path, tmp_path: Path) -> None:
    config = configured(model, write_lines(tmp_path / "rows.jsonl", planted()))
    limited = """
import resource
ends = []
for limit in json.loads(sys.argv[3]):
    if not os.fork():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
        prepare(config, out, processes=1)
    ends.append(os.waitstatus_to_exitcode(os.wait()[1]))
    print(sorted(path.name for path in out.glob("*.json*")), flush=True)
sys.exit(json.dumps(ends))
"""
    out = tmp_path / "out"
    # The first limit stops the work on a block, the second one the writing of the result.
    with started(limited, config.model_dump_json(), str(out), "[5000, 20000]") as process:
        output, errors = process.communicate()
    assert (output, errors.count("CinquainError: The disk is full")) == ("[]\n[]\n", 2)
    assert errors.endswith("[1, 1]\n")
    prepare(config, out)
    prepare(config, tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")


def test_unfinished_work_of_another_configuration_is_cleared_in_the_end(model: Path, tmp_path: Path) -> None:
    path, out = write_lines(tmp_path / "rows.jsonl", planted()), tmp_path / "out"
    (out / ".cinquain-work" / "0123456789abcdef" / "blocks" / "0000-00000000").mkdir(parents=True)
    assert prepare(configured(model, path), out).problems() == []
    assert not (out / ".cinquain-work").exists()
