"""Several processes give what one process gives; those that divide the weights need GPUs and say so."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from finetune.recipe import Recipe
from finetune.training.processes import Processes
from finetune.training.run import train, training_device
from pipelines import InputError
from tests.doubles.tiny import tiny_chat_model
from tests.doubles.training_rows import losses, tiny_recipe, weights

ROOT = Path(__file__).parent.parent
LAUNCH = sorted((ROOT / "finetune" / "launch").glob("*.yaml"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("base"))


HEARD: dict[str, Any] = {
    "cwd": ROOT, "env": {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}, "text": True,
    "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
}  # fmt: skip


def launched(recipe: Recipe, folder: Path) -> list[list[str]]:
    """The command that trains a recipe in two processes."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    return [
        [
            sys.executable, "-m", "accelerate.commands.launch", "--config_file", "finetune/launch/ddp.yaml",
            "-m", "finetune", str(path),
        ]
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_processes_that_were_killed_go_on_to_the_same_weights(base: Path, tmp_path: Path) -> None:
    changes = {"adapter__dropout": 0.1, "training__max_steps": 9, "training__evaluate": 2, "compare": {"rows": 0}}
    whole, killed = (tiny_recipe(base, tmp_path / name, **changes) for name in ("whole", "killed"))
    assert subprocess.run(*launched(whole, tmp_path), **HEARD).returncode == 0
    for step in (2, 6):
        process = subprocess.Popen(*launched(killed, tmp_path), **HEARD)
        assert process.stderr is not None
        for line in process.stderr:
            if f"Step {step}:" in line:
                # Workers have sessions of their own: the end of their launcher alone would leave them at work.
                for each in [process, *psutil.Process(process.pid).children(recursive=True)]:
                    each.kill()
                break
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (Path(killed.output) / "training.json").exists()
    done = subprocess.run(*launched(killed, tmp_path), **HEARD)
    assert done.returncode == 0, done.stderr
    assert "Training: 9 steps, 0 of them" not in done.stderr  # it did go on
    assert losses(Path(killed.output)) == losses(Path(whole.output))
    assert weights(Path(killed.output)) == weights(Path(whole.output))


def test_two_processes_give_the_result_of_one(base: Path, tmp_path: Path) -> None:
    # Five rows to a step: the shares differ in size, and so do their numbers of passes.
    changes = {
        "training__batch_size": 5,
        "training__pass_tokens": 200,
        "training__max_steps": 6,
        "compare": {"rows": 0},
    }
    alone, together = (tiny_recipe(base, tmp_path / name, **changes) for name in ("alone", "together"))
    train(alone)
    done = subprocess.run(*launched(together, tmp_path), **HEARD)
    assert done.returncode == 0, done.stderr
    one, two = (losses(Path(each.output)) for each in (alone, together))
    assert [entry[:2] for entry in one] == [entry[:2] for entry in two]
    assert [entry[2] for entry in one] == pytest.approx([entry[2] for entry in two], rel=1e-3)
    assert one[1][2] == pytest.approx(two[1][2], rel=1e-6)  # before sums in another order have added up
    assert weights(Path(alone.output)).keys() == weights(Path(together.output)).keys()
    assert not (Path(together.output) / ".cinquain-work").exists()


@pytest.mark.parametrize(("name", "how"), [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")])
def test_weights_are_not_divided_on_a_processor(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(InputError) as caught:
        Processes(training_device(tiny_recipe(base, tmp_path)))
    assert caught.value.code == "sharded_on_cpu"
    assert str(caught.value).startswith(f"{how} divides the weights among NVIDIA GPUs")
    assert not (tmp_path / "out").exists()


DIVIDED = """
import sys, torch, torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from finetune.recipe import Recipe
from finetune.training.processes import require_divided
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64))
try:
    require_divided(model, 2)
except Exception as error:
    print(error.code, flush=True)
fully_shard(model, mesh=torch.distributed.init_device_mesh("cpu", (2,)))
require_divided(model, 2)
print("divided", flush=True)
"""


def test_weights_that_only_seem_to_be_divided_are_found_out(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIVIDED]
    started = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "meeting")], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    assert [process.communicate()[0] for process in started] == ["not_divided\ndivided\n"] * 2


def test_a_tracker_that_is_not_installed(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pip install trackio"):
        train(tiny_recipe(base, tmp_path, training__trackers=["trackio"]))


@pytest.mark.parametrize("path", LAUNCH, ids=lambda path: path.stem)
def test_each_launch_file_is_one_for_accelerate(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.mixed_precision == "no"
    assert config.num_processes > 1
    assert f"finetune/launch/{path.name}" in path.read_text()
