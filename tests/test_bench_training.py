"""The script that measures training runs: on a tiny model, our side of it."""

import json
import subprocess
import sys
from pathlib import Path

from tests.doubles.tiny import tiny_chat_model

ROOT = Path(__file__).resolve().parent.parent


def test_the_speed_of_training(tmp_path: Path) -> None:
    model = tiny_chat_model(tmp_path / "model", steps=120)
    command = [sys.executable, str(ROOT / "bench" / "training.py"), "--alone", "--steps", "3", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--model", str(model), "--device", "cpu"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["training"]["tokens_per_s"]["ours"][0] > 0
    assert len(found["training"]["losses"]["ours"]) == 3
    assert found["training"]["ratio"] is None


def test_the_script_for_a_gpu_runs_on_a_processor_with_a_tiny_model(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "bench" / "training_gpu.py"), "--device", "cpu", "--tiny", "--steps", "2"]
    done = subprocess.run(
        [*command, "--lengths", "16", "32", "--tokens", "64", "--folder", str(tmp_path / "model")],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["lengths"]
    assert set(found) == {"16", "32"}
    for sides in found.values():
        assert {"cinquain", "transformers+peft"} <= set(sides)
        assert all(side["tokens_per_s"] > 0 and 0 < side["mfu"] < 1.5 and side["loss"] > 0 for side in sides.values())


def test_the_steps_of_a_model_from_nothing_beside_two_others(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "bench" / "pretraining.py"), "--shapes", "smoke", "--modes", "eager"]
    done = subprocess.run(
        [*command, "--rounds", "1", "--out", str(tmp_path / "out.json")], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert json.loads((tmp_path / "out.json").read_text()) == found
    sides = found["shapes"]["smoke"]["sides"]
    assert set(sides) == {"ours eager", "nanogpt eager", "llama eager", "ours (autocast) eager"}
    assert sides["ours eager"]["weights"] == sides["llama eager"]["weights"]
    assert all(side["tokens_per_s"] > 0 and 0 < side["mfu"] < 1.5 and 5 < side["loss"] < 6 for side in sides.values())
    fastest = max(sides[name]["tokens_per_s"] for name in ("nanogpt eager", "llama eager"))
    assert abs(found["shapes"]["smoke"]["ratio"] - sides["ours eager"]["tokens_per_s"] / fastest) < 2e-3
