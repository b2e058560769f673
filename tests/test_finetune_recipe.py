"""A recipe is read strictly: every mistake is one sentence that names the key and the nearest one."""

from pathlib import Path
from typing import Any

import pytest

from finetune.recipe import RECIPES, Recipe, load_recipe, parse_recipe
from pipelines import InputError

SMALL: dict[str, Any] = {"task": "translation", "output": "out", "data": {"sources": [{"path": "rows.jsonl"}]}}


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def code_of(data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    with pytest.raises(InputError) as caught:
        parse_recipe(data)
    return caught.value.code, caught.value.parameters


def test_only_what_differs_from_the_defaults_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, "task: translation\noutput: out\ndata:\n  sources:\n  - path: rows.jsonl\n")
    recipe = load_recipe(path)
    assert recipe == parse_recipe({**SMALL, "data": {"sources": [{"path": str(tmp_path / "rows.jsonl")}]}})
    assert (recipe.data.task, recipe.data.model) == ("translation", "smollm2-135m")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_values_are_changed_by_dotted_names(tmp_path: Path) -> None:
    path = written(tmp_path, "task: translation\noutput: out\ndata: {sources: [{path: rows.jsonl}]}\ntraining:\n")
    changes = {"training.epochs": 2, "data.sources.0.limit": 5, "model": "other", "adapter.targets": ["q_proj"]}
    recipe = load_recipe(path, changes)
    assert (recipe.training.epochs, recipe.data.sources[0].limit) == (2, 5)
    assert (recipe.model, recipe.data.model, recipe.adapter.targets) == ("other", "other", ["q_proj"])


@pytest.mark.parametrize("name", ["task.x", "data.sources.7.path", "data.sources.first.path"])
def test_a_change_of_what_is_not_there(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, "task: translation\noutput: out\ndata: {sources: [{path: rows.jsonl}]}\n")
    with pytest.raises(InputError) as caught:
        load_recipe(path, {name: 1})
    assert caught.value.code == "recipe_key_unknown"


@pytest.mark.parametrize(
    ("place", "key", "nearest"),
    [
        ((), "modle", "model"),
        (("training",), "epoch", "epochs"),
        (("adapter",), "rnak", "rank"),
        (("data",), "source", "sources"),
        (("data", "split"), "validaton", "validation"),
        (("data", "sources", 0), "colums", "columns"),
    ],
)
def test_a_misspelt_key_names_the_nearest_one(place: tuple[Any, ...], key: str, nearest: str) -> None:
    data: Any = {**SMALL, "data": {"sources": [{"path": "rows.jsonl"}]}}
    inner = data
    for part in place:
        inner = inner.setdefault(part, {}) if isinstance(inner, dict) else inner[part]
    inner[key] = 1
    code, parameters = code_of(data)
    assert code == "recipe_key_unknown"
    assert parameters["key"] == ".".join(map(str, (*place, key)))
    assert parameters["nearest"].split(", ")[0] == nearest


def test_a_wrong_value_is_shown_with_its_key() -> None:
    code, parameters = code_of({**SMALL, "training": {"batch_size": 0}})
    assert (code, parameters["key"], parameters["found"]) == ("recipe_value", "training.batch_size", "0")
    code, parameters = code_of({**SMALL, "adapter": {"kind": "vera"}})
    assert (code, parameters["key"]) == ("recipe_value", "adapter.kind")


def test_a_missing_key() -> None:
    assert code_of({"task": "translation", "output": "out"}) == ("recipe_key_missing", {"key": "data"})


def test_data_for_another_model_than_the_recipe_s() -> None:
    code, parameters = code_of({**SMALL, "data": {**SMALL["data"], "model": "other"}})
    assert code == "recipe_value"
    assert "data.model is 'other'" in parameters["problem"]


def test_an_unknown_task_names_the_nearest() -> None:
    code, parameters = code_of({**SMALL, "task": "translaton"})
    assert code == "task_unknown"
    assert "translation" in parameters["nearest"]


@pytest.mark.parametrize("text", ["- 1", "a: [", "", "just text"])
def test_what_is_no_recipe(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(written(tmp_path, text))
    assert caught.value.code == "recipe_unreadable"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_files_are_looked_for_beside_the_recipe_and_for_one_that_ships_in_the_working_folder(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("{task: dialogue, output: out, data: {sources: [rows.jsonl], languages: [no]}}")
    recipe = load_recipe(path)
    assert recipe.data.sources[0].path == str(tmp_path / "rows.jsonl")
    assert (recipe.output, recipe.data.languages) == ("out", ["no"])
    assert load_recipe(RECIPES / "translation_gpu.yaml").data.sources[0].path == "rows.jsonl"
    assert load_recipe(path, {"data.sources.0.path": "mine.jsonl"}).data.sources[0].path == "mine.jsonl"
