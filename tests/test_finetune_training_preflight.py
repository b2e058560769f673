"""Before the first step it is known whether it fits; the count is near what the step then takes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from eval.energy import EnergyMeter
from finetune.data.rendering import Rendered
from finetune.recipe import AdapterConfig, Recipe
from finetune.training import run as run_module
from finetune.training.examples import write_examples
from finetune.training.memory import Need, Step, changes_that_fit, memory_of
from finetune.training.packing import can_pack, packs, shared_tokens
from finetune.training.plot import draw
from finetune.training.preflight import Preflight
from finetune.training.prepared import PreparedExamples
from finetune.training.run import train, training_device
from finetune.training.trainer import inputs_for, summed_loss
from pipelines import InputError
from pipelines.engines.device import DeviceChoice, choose_device
from pipelines.models import resolve
from pipelines.models.shape import shape_of
from tests.doubles.tiny import tiny_chat_model, tiny_llama, tiny_tokenizer
from tests.doubles.training_rows import tiny_recipe

ROOT = Path(__file__).parent.parent
CPU = choose_device("cpu", "float32")
STEP = Step(CPU, pass_tokens=1024, longest=256, trained=512, checkpointing=False)


def by_tokens(step: Step) -> Need:
    """A machine on which a token of a pass takes a byte, half without kept activations, a quarter in 4 bits."""
    size = 4 if step.choice.dtype == "float32" else 2
    size = 1 if step.choice.quantization else size
    return Need(0, 0, step.pass_tokens * size // (2 if step.checkpointing else 1), 0)


@pytest.mark.parametrize(
    ("free", "changes"),
    [
        (4096, {}),
        (4095, {"training.pass_tokens": 512}),
        (1024, {"training.pass_tokens": 256}),
        (1023, {"training.gradient_checkpointing": "on", "training.pass_tokens": 256}),
        (511, {"training.dtype": "bfloat16", "training.gradient_checkpointing": "on", "training.pass_tokens": 256}),
        (255, None),
    ],
)
def test_the_smallest_change_that_fits(free: int, changes: dict[str, Any] | None) -> None:
    assert changes_that_fit(STEP, free, by_tokens, quantizable=False) == changes


def test_four_bits_where_the_device_can() -> None:
    found = changes_that_fit(STEP, 255, by_tokens, quantizable=True)
    assert found == {
        "adapter.quantization": "4bit",
        "training.gradient_checkpointing": "on",
        "training.pass_tokens": 256,
    }


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("base"))


def smallest(base: Path, recipe: Recipe) -> tuple[int, int]:
    """The least that the recipe's longest row takes: with activations that are computed twice, and with kept ones."""
    need = [
        memory_of(shape_of(resolve(str(base))), 16384, recipe.adapter, Step(CPU, 90, 90, 12, checkpointing=twice)).total
        for twice in (True, False)
    ]
    return need[0], need[1]


def test_a_run_says_what_it_takes_before_it_begins(base: Path, tmp_path: Path) -> None:
    figures = train(tiny_recipe(base, tmp_path, training__max_steps=2))["preflight"]
    assert figures["measured_bytes"] > 0
    assert figures["estimate_error"] is not None
    assert figures["tokens_per_s"] > 0
    assert figures["evaluation_seconds"] > 0
    assert figures["seconds_left"] > 0
    assert "kwh_left" in figures


@pytest.mark.parametrize(
    ("changes", "code", "fitting"),
    [
        ({"training__pass_tokens": 4096}, "training_memory_try", "training.pass_tokens="),
        ({"training__gradient_checkpointing": "off"}, "training_memory_try", "training.gradient_checkpointing=on"),
        ({}, "training_memory", ""),
    ],
)
def test_what_does_not_fit_is_refused_with_numbers_before_anything_is_trained(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], code: str, fitting: str
) -> None:
    recipe = tiny_recipe(base, tmp_path, **changes)
    twice, once = smallest(base, recipe)
    free = {
        "training_memory": 100_000,
        "training_memory_try": once if "pass_tokens" in fitting else (once + twice) // 2,
    }
    monkeypatch.setattr(run_module, "free_memory", lambda device: free[code])
    with pytest.raises(InputError) as caught:
        train(recipe)
    assert caught.value.code == code
    assert fitting in caught.value.parameters.get("fitting", "")
    assert "GB" in str(caught.value)
    assert not (tmp_path / "out" / "training_log.jsonl").exists()


def test_passes_shrink_and_activations_are_computed_twice_by_themselves(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(base, tmp_path, training__max_steps=1)
    free = sum(smallest(base, recipe)) // 2
    monkeypatch.setattr(run_module, "free_memory", lambda device: free)
    figures = train(recipe)["preflight"]
    assert figures["gradient_checkpointing"] is True
    assert figures["pass_tokens"] < 512


def test_memory_that_runs_out_in_the_step_leads_to_a_smaller_one(base: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(base, tmp_path)
    rows = [Rendered([5] * 60, [False] * 20 + [True] * 40)] * 8
    examples = PreparedExamples(write_examples(tmp_path / "a", rows), write_examples(tmp_path / "b", []))
    model = tiny_llama(64)
    flight = Preflight(
        recipe, CPU, shape_of(resolve(str(base))), examples, 10**12, 0, pad=0, pass_tokens=480, packed=False
    )
    tried: list[int] = []

    def loss(model: Any, part: dict[str, Any]) -> Any:
        tried.append(part["input_ids"].numel())
        if part["input_ids"].numel() > 150:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return summed_loss(model, part, inputs_for(model))

    flight.run(model, loss)
    assert tried[0] > 400
    assert tried[-1] <= 120
    assert flight.step.pass_tokens == 120


def test_random_numbers_of_a_preflight_are_given_back(base: Path, tmp_path: Path) -> None:
    examples = PreparedExamples(
        write_examples(tmp_path / "a", [Rendered([5] * 9, [False] * 4 + [True] * 5)]),
        write_examples(tmp_path / "b", []),
    )
    recipe = tiny_recipe(base, tmp_path)
    before = torch.random.get_rng_state()

    def loss(model: Any, part: dict[str, Any]) -> Any:
        torch.rand(3)
        return summed_loss(model, part, inputs_for(model))

    Preflight(recipe, CPU, None, examples, 0, 0, 0, 512, False).run(tiny_llama(64), loss)
    assert torch.equal(torch.random.get_rng_state(), before)


PROGRAM = """
import sys, tempfile
from pathlib import Path
import torch
from finetune.recipe import parse_recipe
from finetune.training import run
from finetune.training.preflight import Preflight
taken = []
figures = Preflight.figures
class Enough(Exception): pass
def stop(self, left):
    print(figures(self, left)["estimated_bytes"], figures(self, left)["measured_bytes"])
    raise Enough
Preflight.figures = stop
with tempfile.TemporaryDirectory() as folder:
    try:
        run.train(parse_recipe({
            "task": "translation", "output": folder + "/out", "data": {"sources": [{"path": "shipped:translation"}]},
            "training": {"dtype": sys.argv[1], "device": "cpu"},
        }))
    except Enough:
        pass
"""


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_estimate_is_near_what_a_step_takes(dtype: str) -> None:
    """In a process of its own: memory that others gave back is taken again, and not seen to grow."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, dtype], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    estimated, measured = map(int, done.stdout.split())
    assert measured > 700_000_000
    assert abs(estimated / measured - 1) < 0.3, (estimated, measured)


def test_rows_are_packed_where_they_share_enough_and_the_model_can(tmp_path: Path) -> None:
    alike = write_examples(
        tmp_path / "a", [Rendered([5] * 20 + [each] * 10, [False] * 25 + [True] * 5) for each in (6, 7)]
    )
    other = write_examples(tmp_path / "b", [Rendered([each] * 30, [False] * 25 + [True] * 5) for each in (6, 7)])
    assert (shared_tokens(alike), shared_tokens(other)) == (20, 0)
    folder = tmp_path / "model"
    tiny_tokenizer(["a"]).save_pretrained(folder)
    model = tiny_llama(300)
    model.save_pretrained(folder)
    shape = shape_of(resolve(str(folder)))
    gpu = DeviceChoice("cuda:0", "bfloat16", False, CPU.reason)
    assert packs("auto", model, shape, alike, CPU)
    assert not packs("auto", model, shape, other, CPU)
    assert packs("on", model, shape, other, gpu)
    assert not packs("off", model, shape, alike, CPU)
    assert not can_pack(model, replace(shape, windows=(16, None)), 30)  # layers that look back 16 tokens
    assert not can_pack(model, replace(shape, recurrent=1), 30)
    model.set_attn_implementation("eager")
    assert not can_pack(model, shape, 30)


def test_energy_is_told_where_a_counter_can_be_read(tmp_path: Path) -> None:
    assert EnergyMeter("cpu", tmp_path).joules() is None
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    counter.parent.mkdir()
    counter.write_text("1000000\n")
    (tmp_path / "intel-rapl:0:0").mkdir()
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("5")  # a part of the first
    meter = EnergyMeter("cpu", tmp_path)
    counter.write_text("3500000\n")
    assert meter.joules() == pytest.approx(2.5)
    counter.write_text("7\n")  # it began anew
    assert meter.joules() is None


def test_curves_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "loss.png"
    draw([], path)
    assert not path.exists()
    entries = [{"step": step, "loss": 3.0 / step} for step in range(1, 40)]
    draw(
        [
            {"step": 0, "eval_loss": 3.1},
            *entries,
            {"step": 20, "eval_loss": float("nan")},
            {"step": 39, "eval_loss": 0.4},
        ],
        path,
    )
    with Image.open(path) as image:
        assert image.size == (960, 540)
        colours = {colour for _, colour in image.convert("RGB").getcolors(100_000) or []}
    assert {(143, 183, 220), (192, 57, 43)} <= colours
    draw([{"step": 1, "loss": 0.0}], path)


def test_dtype_is_one_that_training_can_use(base: Path, tmp_path: Path) -> None:
    assert training_device(tiny_recipe(base, tmp_path, training__dtype="auto")).dtype in ("float32", "bfloat16")
    assert AdapterConfig().targets == "all-linear"
