"""Killed anywhere, and started again by the same command: the same curves and the same weights, to the last bit."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune.training.checkpoints import MARKER, complete, is_complete, last_complete
from tests.doubles.tiny import tiny_chat_model
from tests.doubles.training_rows import losses, tiny_recipe, weights

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and fork")

ROOT = Path(__file__).parent.parent

# Each try is a child of one process that has everything loaded. A child ends itself, by SIGKILL, in the middle of the
# n-th thing that it does to a file of its run: every step is one at least, as it is written to the log.
PROGRAM = """
import errno, json, os, resource, signal, sys
from pathlib import Path
from finetune.recipe import Recipe
from finetune.training import trainer
from finetune.training.checkpoints import last_complete
from finetune.training.run import train

recipe, out, shares = Recipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
sparse = recipe.model_copy(update={"training": recipe.training.model_copy(update={"evaluate": 100})})

def start(name, recipe=recipe):
    return train(recipe.model_copy(update={"output": str(out / name)}))

def child(name, recipe=recipe, kill_at=0, action=signal.SIGKILL, only="", limit=None):
    folder, seen = str(out / name), 0
    def watch(event, arguments):
        nonlocal seen
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"):
            if folder in (told := repr(arguments)) and only in told:
                seen += 1
                if seen == kill_at:
                    os.kill(os.getpid(), action)
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.addaudithook(watch)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    code = 0
    try:
        start(name, recipe)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        print(f"{name}: {error}", file=sys.stderr)
        code = 1
    (out / f"{name}.events").write_text(str(seen))
    os._exit(code)

def checkpoints(name):
    return sorted(path.name for path in (out / name / ".cinquain-work" / "checkpoints").glob("checkpoint-*"))

result = {"ends": []}
assert child("warm") == 0 and child("whole") == 0  # loads nothing into this process but modules
events = result["events"] = int((out / "whole.events").read_text())
for number, share in enumerate(shares):
    name = f"killed{number}"
    # The second kill falls into what the first left.
    result["ends"].append([child(name, kill_at=kill) for kill in (round(share * events), 25 + 7 * number)])
    result["ends"][-1].append(child(name))

child("sparse", sparse)
for word in ("SIGINT", "SIGTERM"):
    end = child(word, sparse, kill_at=4, action=getattr(signal, word), only="training_log")
    result[word] = [end, checkpoints(word), child(word, sparse)]

size = (out / "whole" / "adapter_model.safetensors").stat().st_size
result["full"] = [child("full", limit=size // 2), child("full", limit=size + 9000), child("full")]

# The disk fills up between two checkpoints.
save = trainer.Trainer._save_optimizer_and_scheduler
def full(self, folder):
    if self.state.global_step > 3:
        raise OSError(errno.ENOSPC, "No space left on device", folder)
    save(self, folder)
trainer.AdapterTrainer._save_optimizer_and_scheduler = full
result["later"] = [child("later"), last_complete(out / "later" / ".cinquain-work" / "checkpoints").name]
del trainer.AdapterTrainer._save_optimizer_and_scheduler
result["later"].append(child("later"))
print(json.dumps(result))
"""
SHARES = [0.97, 0.995, *(random.Random(5).uniform(0.3, 0.95) for _ in range(3))]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """Folder of all runs, how they ended, and what was said."""
    out = tmp_path_factory.mktemp("runs")
    base = tiny_chat_model(out / "base")
    # Dropout draws random numbers: they, too, have to go on where they were.
    recipe = tiny_recipe(base, out, adapter__dropout=0.1, training__max_steps=7)
    command = [sys.executable, "-c", PROGRAM, recipe.model_dump_json(), str(out), json.dumps(SHARES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout.splitlines()[-1]), done.stderr


def same(first: Path, second: Path) -> None:
    """The same curves, weights and best step, and nothing left over."""
    assert losses(first) == losses(second)
    assert weights(first) == weights(second)
    figures = [json.loads((out / "training.json").read_bytes()) for out in (first, second)]
    for each in figures:
        del each["recipe"], each["command"], each["seconds_of_last_start"], each["preflight"]
    assert figures[0] == figures[1]
    assert {path.name for path in first.iterdir()} == {path.name for path in second.iterdir()}


@pytest.mark.parametrize("number", range(len(SHARES)))
def test_killed_anywhere_it_goes_on_to_the_same_weights(runs: tuple[Path, dict[str, Any], str], number: int) -> None:
    out, result, errors = runs
    assert result["events"] > 100
    assert result["ends"][number][0] == -signal.SIGKILL, errors
    assert result["ends"][number][-1] == 0, errors
    same(out / f"killed{number}", out / "whole")


@pytest.mark.parametrize("word", ["SIGINT", "SIGTERM"])
def test_ctrl_c_saves_and_the_same_command_goes_on(runs: tuple[Path, dict[str, Any], str], word: str) -> None:
    out, result, errors = runs
    end, left, last = result[word]
    assert (end, last) == (130, 0), errors
    assert [0 < int(name.partition("-")[2]) < 7 for name in left] == [True]  # none was due before the end
    same(out / word, out / "sparse")


def test_a_full_disk_is_one_sentence_and_a_later_start_goes_on(runs: tuple[Path, dict[str, Any], str]) -> None:
    out, result, errors = runs
    assert result["full"] == [1, 1, 0], errors  # first the adapter did not fit, then its optimizer's state
    assert errors.count("full: The disk is full") == 2, errors
    same(out / "full", out / "whole")


def test_a_full_disk_leaves_the_earlier_checkpoint(runs: tuple[Path, dict[str, Any], str]) -> None:
    out, result, errors = runs
    assert result["later"] == [1, "checkpoint-3", 0], errors
    assert errors.count("later: The disk is full") == 1
    same(out / "later", out / "whole")


def test_a_checkpoint_counts_only_with_its_marker_and_all_of_its_files(tmp_path: Path) -> None:
    for step in (2, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(b"12345")
        assert not is_complete(folder)
        complete(folder)
        assert is_complete(folder)
    assert last_complete(tmp_path) == tmp_path / "checkpoint-10"
    (tmp_path / "checkpoint-10" / "weights").write_bytes(b"1234")
    (tmp_path / "checkpoint-11").mkdir()
    assert last_complete(tmp_path) == tmp_path / "checkpoint-2"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]
    (tmp_path / "checkpoint-2" / MARKER).write_text("{")
    assert last_complete(tmp_path) is None
