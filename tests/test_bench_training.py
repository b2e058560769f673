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
