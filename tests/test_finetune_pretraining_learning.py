"""Steps of a training from nothing: schedule, precision, several passes, several processes."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from finetune.pretraining.chats import order
from finetune.pretraining.distribution import Distribution
from finetune.pretraining.learning import IGNORED, Journal, Settings, learn, rate, summed_loss
from finetune.pretraining.precision import MasterWeights
from pipelines.errors import CinquainError
from pipelines.models.transformer import TransformerModel

ROOT = Path(__file__).parent.parent


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "steps": 30, "learning_rate": 1e-2, "warmup": 0.1, "final": 0.1, "weight_decay": 0.1, "betas": (0.9, 0.95),
        "max_grad_norm": 1.0, "evaluate": 10, "device": "cpu", "dtype": "float32", **changes,
    }  # fmt: skip
    return Settings(**values)


def small() -> TransformerModel:
    torch.manual_seed(0)
    return TransformerModel(61, 32, 2, 2)


TEXT = torch.randint(61, (8, 25), generator=torch.Generator().manual_seed(1))


def trained(folder: Path, passes: int = 1, **changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Weights and log of a training that learns eight sequences by heart."""
    parts = TEXT.chunk(passes)
    journal = Journal(folder / "log.jsonl", "text")
    weights = learn(
        small(),
        lambda step: [(part[:, :-1], part[:, 1:]) for part in parts],
        lambda model, step: {"eval_loss": float(summed_loss(model, TEXT[:, :-1], TEXT[:, 1:]).detach())},
        settings(**changes),
        folder / "checkpoints",
        journal,
        Distribution(),
    )
    return weights, journal.entries()


@given(st.integers(1, 300), st.floats(0, 0.9), st.floats(0, 1))
def test_the_rate_rises_to_its_height_and_falls_to_its_end(steps: int, warmup: float, final: float) -> None:
    config = settings(steps=steps, warmup=warmup, final=final)
    rates = [rate(step, config) for step in range(steps + 1)]
    rises = max(1, round(warmup * steps))
    assert max(rates) <= config.learning_rate * (1 + 1e-9)
    assert rates[rises - 1] == pytest.approx(config.learning_rate)
    assert all(one < two for one, two in pairwise(rates[:rises]))
    assert all(one >= two - 1e-12 for one, two in pairwise(rates[rises:]))
    assert rates[-1] == pytest.approx(config.learning_rate * (final if rises < steps else 1), rel=1e-6)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 3))
def test_every_block_is_read_once_an_epoch(count: int, batch: int, seed: int) -> None:
    read = [place for step in range(count) for place in order(count, batch, step, seed)]
    assert len(read) == count * batch
    for epoch in np.array(read).reshape(batch, count):
        assert sorted(epoch) == list(range(count))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_learns_by_heart(tmp_path: Path, dtype: str) -> None:
    weights, entries = trained(tmp_path, steps=120, dtype=dtype)
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[0] > 3
    assert losses[-1] < 0.3
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert weights.keys() == small().state_dict().keys()


def test_passes_change_nothing(tmp_path: Path) -> None:
    for name in ("one", "four"):
        (tmp_path / name).mkdir()
    (one, entries), (four, again) = trained(tmp_path / "one"), trained(tmp_path / "four", passes=4)
    lines = [[entry["loss"] for entry in each if "loss" in entry] for each in (entries, again)]
    assert lines[0] == pytest.approx(lines[1], rel=1e-4)
    for name, weight in one.items():
        torch.testing.assert_close(weight, four[name], rtol=1e-3, atol=1e-4)


def test_targets_that_carry_no_loss_carry_none() -> None:
    model, tokens = small(), TEXT[:2, :-1]
    targets = TEXT[:2, 1:].clone()
    targets[:, :10] = IGNORED
    expected = functional.cross_entropy(model(tokens)[:, 10:].flatten(0, 1), targets[:, 10:].flatten(), reduction="sum")
    torch.testing.assert_close(summed_loss(model, tokens, targets), expected)


def test_sums_in_float32_keep_what_bfloat16_would_lose() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(layer.weight)
    master = MasterWeights(
        layer, torch.bfloat16, lambda named: torch.optim.SGD([weight for _, weight in named], lr=1.0)
    )
    for _ in range(8):
        layer.weight.grad = torch.full_like(layer.weight, -1e-3)
        master.step(1.0, 1e9)
    assert float(master.whole()["weight"]) == pytest.approx(1.008, abs=1e-4)
    assert layer.weight.dtype == torch.bfloat16
    assert float(layer.weight.detach()) == pytest.approx(1.008, abs=4e-3)


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(CinquainError) as caught:
        trained(tmp_path, learning_rate=1e30, max_grad_norm=1e30)
    assert caught.value.code == "training_not_finite"


DIVIDED = """
import json, sys, torch, torch.distributed as dist
from pathlib import Path
from finetune.pretraining.distribution import Distribution
sys.path.insert(0, "tests")
from tests import test_finetune_pretraining_learning as here
rank, sharded, out = int(sys.argv[1]), sys.argv[3] == "fsdp", Path(sys.argv[4])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
half = here.TEXT[rank::2]
def run(steps):
    return here.learn(
        here.small(),
        lambda step: [(half[:, :-1], half[:, 1:])],
        lambda model, step: {"eval_loss": float(here.summed_loss(model, here.TEXT[:, :-1], here.TEXT[:, 1:]).detach())},
        here.settings(**steps),
        out / "checkpoints",
        here.Journal(out / "log.jsonl", "text"),
        Distribution(dist.barrier, rank=rank, count=2, sharded=sharded),
        lambda: stop and next(asked) >= 14,
    )
import itertools
asked, stop = itertools.count(), True
try:
    run({})
except KeyboardInterrupt:
    pass
stop = False
weights = run({})
if rank == 0:
    torch.save(weights, out / "weights.pt")
    print(json.dumps(here.Journal(out / "log.jsonl", "text").entries()))
"""


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_learns_and_go_on(tmp_path: Path, how: str) -> None:
    (tmp_path / "alone").mkdir()
    weights, entries = trained(tmp_path / "alone")
    command = [sys.executable, "-c", DIVIDED]
    started = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "meeting"), how, str(tmp_path)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    heard = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], heard[0][1] + heard[1][1]
    found = json.loads(heard[0][0].splitlines()[-1])
    told = {(entry["step"], name): entry[name] for entry in found for name in ("loss", "eval_loss") if name in entry}
    for entry in entries:
        for name in ("loss", "eval_loss"):
            if name in entry:
                assert told[entry["step"], name] == pytest.approx(entry[name], rel=2e-3), (entry["step"], name)
    for name, weight in torch.load(tmp_path / "weights.pt").items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-2, atol=1e-3)
