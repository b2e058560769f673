"""From a recipe to a verdict: trained, loaded again from the disk, compared with its base, written down."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from apps.cli.main import main
from finetune.data import Split
from finetune.finetuning import Finetuned, finetune
from finetune.judging.results import table, write_results
from finetune.merging import merge
from finetune.recipe import Recipe
from finetune.training.prepared import rows_of
from pipelines import InputError, Pipeline, pipeline
from tests.doubles.tiny import tiny_chat_model
from tests.doubles.training_rows import tiny_recipe

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT on tied embeddings


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def recipe(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    changes = {
        "training__max_steps": 90, "training__evaluate": 30, "data__split": {"validation": 0.1, "test": 0.3},
        "compare": {"rows": 9, "max_new_tokens": 24, "canaries": 2},
    }  # fmt: skip
    return tiny_recipe(base, tmp_path_factory.mktemp("run"), **changes)


@pytest.fixture(scope="module")
def done(recipe: Recipe) -> Finetuned:
    found = finetune(recipe)
    assert found is not None
    return found


def test_an_adapter_that_helped_is_called_better(done: Finetuned) -> None:
    assert done.judgement is not None
    assert (done.judgement.part, done.judgement.rows) == ("test", 9)
    (metric,) = done.judgement.metrics
    assert (metric.name, metric.verdict) == ("bits per byte", "better")
    assert metric.comparison.second < 0.3 * metric.comparison.first
    assert done.judgement.verdict.code == "judged_better"
    assert done.exposure is not None
    assert done.exposure.secrets == 2


def test_everything_lies_in_one_folder_and_texts_are_private(done: Finetuned) -> None:
    names = {path.name for path in done.folder.iterdir()}
    assert {
        "adapter_model.safetensors", "adapter_config.json", "cinquain_adapter.json", "training.json",
        "training_log.jsonl", "judgement.json", "README.md", "data", "answers",
    } <= names  # fmt: skip
    assert stat.S_IMODE((done.folder / "judgement.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((done.folder / "answers").stat().st_mode) == 0o700
    assert json.loads((done.folder / "judgement.json").read_bytes())["verdict"]["code"] == "judged_better"


def test_the_card_says_what_was_found_and_holds_no_text_of_a_row(done: Finetuned) -> None:
    card = (done.folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nbase_model: ")
    assert "Better: on 9 held-out rows bits per byte went from" in card
    assert "2 secrets were planted" in card
    assert "| bits per byte |" in card
    assert "records were read and" in card
    for row in rows_of(done.folder / "data" / "train.jsonl"):
        assert row.reply not in card
        assert row.request["messages"][0]["content"] not in card


def test_the_same_command_again_has_nothing_to_do_and_asks_no_model(
    recipe: Recipe, done: Finetuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (done.folder / "adapter_model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(Pipeline, "batch", None)  # every answer is there
    again = finetune(recipe)
    assert again is not None
    assert again.judgement == done.judgement
    assert again.exposure == done.exposure
    assert (done.folder / "adapter_model.safetensors").stat().st_mtime_ns == before


def test_what_was_judged_is_what_is_served_and_what_is_merged(
    base: Path, done: Finetuned, recipe: Recipe, tmp_path: Path
) -> None:
    rows = list(rows_of(done.folder / "data" / "test.jsonl"))[:4]
    requests = [{**row.request, "temperature": 0, "max_new_tokens": 24} for row in rows]
    served = pipeline("dialogue", str(base), str(done.folder), dtype="float32", device="cpu").batch(requests)
    assert [generation.text for generation in served] == [row.reply for row in rows]
    gate = merge(done.folder, tmp_path / "merged", rows)
    assert gate.passed
    merged = pipeline("dialogue", str(tmp_path / "merged"), dtype="float32", device="cpu").batch(requests)
    assert [generation.text for generation in merged] == [generation.text for generation in served]


def test_the_merge_command_takes_the_adapters_own_held_out_rows(
    done: Finetuned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", str(done.folder), str(tmp_path / "merged")]) == 0
    said = capsys.readouterr()
    assert "100% of the replies are the same" in said.out
    assert "says the same" in said.err
    assert main(["merge", str(done.folder), str(tmp_path / "merged")]) == 2
    assert "holds something already" in capsys.readouterr().err
    assert main(["merge", str(done.folder), str(tmp_path / "other"), "--rows", str(tmp_path)]) == 2
    assert "no test or validation rows" in capsys.readouterr().err


def test_without_held_out_rows_nothing_is_compared_and_the_card_says_so(base: Path, tmp_path: Path) -> None:
    small = tiny_recipe(base, tmp_path, training__max_steps=1)
    data = small.data.model_copy(update={"split": Split(validation=0.0)})
    found = finetune(small.model_copy(update={"data": data}))
    assert found is not None
    assert found.judgement is None
    card = (found.folder / "README.md").read_text(encoding="utf-8")
    assert "Not compared with its base" in card
    assert not (found.folder / "judgement.json").exists()


def written(recipe: Recipe, folder: Path) -> Path:
    import yaml

    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
    return path


def test_the_command_prints_the_verdict_and_where_the_card_is(
    recipe: Recipe, done: Finetuned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(recipe, tmp_path)
    assert main(["finetune", str(path)]) == 0
    said = capsys.readouterr()
    assert "Better: on 9 held-out rows" in said.out
    assert "bits per byte: base" in said.out
    assert f"Model card: {done.folder / 'README.md'}" in said.out
    assert main(["finetune", str(path), "--json", "--quiet"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert data["judgement"]["verdict"]["code"] == "judged_better"
    assert data["training"]["steps"] == 90


def test_what_is_published_of_a_run_holds_its_figures_and_no_text_or_path(
    base: Path, done: Finetuned, tmp_path: Path
) -> None:
    path = write_results(done.folder, "tiny", tmp_path / "results")
    text = path.read_text(encoding="utf-8")
    found = json.loads(text)
    assert found["judgement"]["metrics"][0]["comparison"]["rows"] == 9
    assert found["data"]["result_sha256"] == done.figures["data"]["result_sha256"]
    assert found["recipe"]["data"]["sources"][0]["path"] == "rows.jsonl"
    assert found["machine"]["packages"]["torch"]
    assert str(base.parent) not in text
    assert str(done.folder.parent) not in text
    for row in rows_of(done.folder / "data" / "test.jsonl"):
        assert row.reply not in text
    (line,) = table(tmp_path / "results")
    assert line.startswith("| tiny | bits per byte | 9 | ")
    with pytest.raises(InputError, match="holds no finished adapter"):
        write_results(tmp_path, "none", tmp_path / "results")


def test_only_the_first_of_several_processes_judges(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("finetune.finetuning.train", lambda *arguments, **keywords: {})
    assert finetune(replace_output(recipe)) is None


def replace_output(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"output": f"{recipe.output}-other"})
