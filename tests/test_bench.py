"""The speed scripts run: on a model of a few thousand parameters, once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TINY = {
    "vocab_size": 1100, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip


def test_the_table_of_speeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    from build_model import build

    folder = build(str(tmp_path / "model"), **TINY)
    assert build(str(folder)) == folder
    command = [sys.executable, str(ROOT / "bench" / "speed.py"), "--only", "generation", "--rounds", "1"]
    done = subprocess.run([*command, "--model", str(folder)], capture_output=True, text=True, check=True, cwd=ROOT)
    *table, last = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in table[1:]] == [
        "single stream, 128 tokens",
        "single stream, copy-like",
        "batch of 16 questions",
        "batch of 16 translations",
        "64 mixed, unsorted 8s, same dtype",
        "first token, turn 1 and turn 8",
    ]
    figures = json.loads(last)
    assert all(row["ours"] > 0 and row["plain"] > 0 for row in figures["generation"]["tokens_per_s"].values())
    assert figures["machine"]["torch"]
