"""Recipes that ship are recipes: every key is known, every task has one for a CPU and one for a GPU."""

from pathlib import Path

import pytest

from apps.cli.main import main
from apps.cli.recipes import explained
from finetune.__main__ import main as launched
from finetune.recipe import RECIPES, Recipe, find_recipe, load_recipe
from pipelines.models.catalog import entries
from pipelines.tasks import TASKS

LORA = [path for path in sorted(RECIPES.glob("*.yaml")) if not path.stem.startswith("pretrain")]


@pytest.mark.parametrize("path", LORA, ids=lambda path: path.stem)
def test_each_is_valid_and_says_what_it_is_for(path: Path) -> None:
    recipe = load_recipe(path)
    assert path.stem.startswith(recipe.task)
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert recipe.data.split.validation > 0
    assert recipe.data.split.test > 0
    assert recipe.compare.rows > 0


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_one_for_a_cpu_with_the_rows_that_ship_and_one_for_a_gpu(task: str) -> None:
    small = load_recipe(find_recipe(task))
    assert (small.model, small.task) == ("smollm2-135m", task)
    assert [source.path for source in small.data.sources] == [f"shipped:{task}"]
    large = load_recipe(find_recipe(f"{task}_gpu"))
    assert "/" in large.model
    assert large.training.dtype == "bfloat16"


def test_models_of_the_hub_are_those_of_the_catalog_at_the_same_revision() -> None:
    known = {entry.hub_id: entry.revision for entry in entries().values()}
    for path in LORA:
        name, _, revision = load_recipe(path).model.partition("@")
        if "/" in name:
            assert known[name] == (revision or None), path.stem


def test_there_is_one_in_four_bits_and_one_for_encoder_decoders() -> None:
    recipes = {path.stem: load_recipe(path) for path in LORA}
    assert any(recipe.adapter.quantization == "4bit" for recipe in recipes.values())
    assert {"translation_m2m100", "summarization_bart"} <= set(recipes)


def test_every_value_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    path = find_recipe("translation")
    changes = {"training.epochs": 1, "data.sources.0.limit": 9}
    rows = explained(path, changes, load_recipe(path, changes))
    assert rows["training.epochs"] == {"value": 1.0, "from": "command"}
    assert rows["data.sources.0.limit"] == {"value": 9, "from": "command"}
    assert rows["data.sources.0.path"] == {"value": "shipped:translation", "from": "recipe"}
    assert rows["data.task"] == {"value": "translation", "from": "recipe"}
    assert rows["adapter.rank"] == {"value": Recipe.model_fields["adapter"].default.rank, "from": "default"}
    assert main(["finetune", "translation", "training.epochs=1", "--explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["training.epochs", "1.0", "the", "command", "line"] for line in lines)
    assert len(lines) == len(rows)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["finetune", "translaton"], "Did you mean: translation"),
        (["finetune", "translation", "training.epoch=1"], "Did you mean: epochs"),
        (["finetune", "translation", "training.epochs=many"], "training.epochs"),
        (["finetune", "translation", "epochs"], "KEY=VALUE"),
        (["finetune", "translation", "task=poetry", "--explain"], "poetry"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_processes_that_are_launched_take_the_names_of_recipes_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert launched(["translation", "training.epoch=2"]) == 2  # found, and read as far as the wrong key
    assert "epochs" in capsys.readouterr().err
    assert launched(["tranlation"]) == 2
    assert "Did you mean: translation" in capsys.readouterr().err
