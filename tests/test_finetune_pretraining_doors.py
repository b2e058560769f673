"""A model from nothing, trained in seconds, goes through every door: five tasks, benchmark, LoRA, merge."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from apps.cli.main import main
from finetune.pretraining.recipe import PretrainRecipe, load_pretrain_recipe
from finetune.recipe import RECIPES, load_recipe
from pipelines import pipeline
from pipelines.errors import InputError
from tests.doubles.pretraining import small_recipe
from tests.doubles.training_rows import tiny_recipe

FIVE = {
    "translation": ["Good morning.", "--set", "target=fr"],
    "summarization": ["The library closes in July. Workers repair the roof."],
    "dialogue": ["What is the capital of France?"],
    "code_generation": ["Add two numbers."],
    "creative_writing": ["A counting rhyme about mice"],
}
SHIPPED = sorted(RECIPES.glob("pretrain_*.yaml"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that the command made, from a recipe file."""
    folder = tmp_path_factory.mktemp("pretrained")
    recipe = small_recipe(folder / "model", blocks__length=512, training__max_steps=60, chat__rows=chats()).model_dump(
        mode="json", exclude_unset=True
    )
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    assert main(["pretrain", str(folder / "recipe.yaml"), "--quiet"]) == 0
    return folder / "model"


def chats() -> dict[str, list[str]]:
    return {"creative_writing": ["documents"], "translation": ["shipped:translation"]}


def test_it_learned_and_says_where_everything_came_from(made: Path) -> None:
    figures = json.loads((made / "pretraining.json").read_bytes())
    entries = [json.loads(line) for line in (made / "pretraining_log.jsonl").read_text("utf-8").splitlines()]
    bits = [entry["bits_per_byte"] for entry in entries if "bits_per_byte" in entry]
    assert bits[-1] < 0.5 * bits[0]
    assert figures["text"]["bits_per_byte"] == bits[-1]
    answered = [entry["eval_loss"] for entry in entries if entry["stage"] == "chat" and "eval_loss" in entry]
    assert answered[-1] < answered[0]
    assert set(figures["chat"]["tasks"]) == {"creative_writing", "translation"}
    weights = load_file(made / "model.safetensors")
    assert figures["weights"] == sum(weight.numel() for weight in weights.values())
    (account,) = json.loads((made / "documents.json").read_bytes())["sources"]
    assert figures["documents"] == [account]
    assert len(figures["weights_sha256"]) == len(figures["blocks_sha256"]["train"]) == 64
    assert (made / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not (made / ".cinquain-work").exists()


def test_the_same_command_has_nothing_to_do_and_another_recipe_may_not_write_here(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(made.parent / "recipe.yaml")
    before = (made / "model.safetensors").stat().st_mtime_ns
    assert main(["pretrain", recipe]) == 0
    assert "there is nothing to do" in capsys.readouterr().err
    assert main(["pretrain", recipe, "training.learning_rate=0.5"]) == 2
    assert "belongs to another recipe" in capsys.readouterr().err
    assert (made / "model.safetensors").stat().st_mtime_ns == before


def test_the_five_tasks(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for task, words in FIVE.items():
        assert main(["run", task, *words, "--model", str(made), "--max-new-tokens", "16", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["usage"]["completion_tokens"] > 0
        assert found["provenance"]["engine"]["model"] == str(made)


def test_it_writes_a_rhyme_and_ends_it(made: Path) -> None:
    write = pipeline("creative_writing", str(made))
    reply = write(brief="Write a counting rhyme about hungry cats.", form="poem", seed=1)
    assert any(number in reply.text.lower() for number in ("one", "two", "three", "four", "five", "six"))
    write.engine.close()


def test_the_benchmark(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--suite", "smoke", "--limit", "1", "--max-new-tokens", "4", "--alone", "0", "--out", str(tmp_path)]
    assert main(["eval", "run", *words, "--model", str(made), "--quiet", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 1
    assert list(tmp_path.rglob("records.jsonl"))


def test_an_adapter_is_trained_on_it_and_serves(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from finetune.finetuning import finetune

    recipe = tiny_recipe(made, tmp_path, training__max_steps=3, compare={"rows": 0})
    done = finetune(recipe)
    assert done is not None
    capsys.readouterr()
    words = ["dialogue", "Who are you?", "--model", str(made), "--adapter", str(done.folder), "--max-new-tokens", "4"]
    assert main(["run", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["provenance"]["engine"]["adapter"]


def test_without_chats_it_is_what_the_text_made_it(tmp_path: Path) -> None:
    from finetune.pretraining.run import pretrain

    figures = pretrain(small_recipe(tmp_path / "out", chat=None, training__max_steps=2, samples__tokens=0))
    assert figures["chat"] is None
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_recipes_that_ship_are_recipes_and_are_explained(
    path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_pretrain_recipe(path), PretrainRecipe)
    assert path.read_text("utf-8").startswith("# ")
    assert main(["pretrain", path.stem, "training.epochs=7", "--explain"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["training.epochs", "7.0", "the", "command", "line"] in lines
    assert not any(tmp_path.iterdir())


def test_there_are_three_of_the_sizes_that_they_say() -> None:
    import torch

    from pipelines.models.transformer import TransformerModel

    sizes = {}
    for path in SHIPPED:
        recipe = load_pretrain_recipe(path)
        with torch.device("meta"):
            model = TransformerModel(recipe.tokenizer.vocabulary, **recipe.model.model_dump())
        sizes[path.stem] = round(sum(weight.numel() for weight in model.parameters()) / 1e6)
    assert sizes == {"pretrain_tiny": 4, "pretrain_classic": 24, "pretrain_gpu": 103}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["finetune", "pretrain_tiny"], "Run: cinquain pretrain"),
        (["pretrain", "translation"], "Run: cinquain finetune"),
        (["pretrain", "pretrain_tinny"], "Did you mean: pretrain_tiny"),
        (["pretrain", "pretrain_tiny", "training.epoch=1"], "Did you mean: epochs"),
        (["pretrain", "pretrain_tiny", "model.num_heads=3"], "no multiple of twice num_heads"),
        (["pretrain", "pretrain_tiny", 'chat.rows.poetry=["documents"]'], "no such task: poetry"),
        (["pretrain", "pretrain_tiny", "documents.sources.0.path=missing.txt"], "missing.txt"),
        (["pretrain", "pretrain_tiny", "documents.sources.0.path=rhymes:many"], "rhymes:5000"),
        (["pretrain", "pretrain_tiny", "documents.sources.0.path=public:shakespear"], "shakespeare"),
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


def test_a_recipe_names_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("Some text.")
    data: dict[str, Any] = {"output": "out", "documents": {"sources": ["texts.txt", "hub:org/name"]}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(data), "utf-8")
    sources = load_pretrain_recipe(tmp_path / "recipe.yaml").documents.sources
    assert [source.path for source in sources] == [str(tmp_path / "texts.txt"), "hub:org/name"]
    with pytest.raises(InputError) as caught:
        load_recipe(tmp_path / "recipe.yaml")
    assert caught.value.code == "recipe_for_pretrain"


def test_a_recipe_that_came_to_nothing_may_be_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.txt").write_text("One single text that is long enough to be kept.\n")
    data = {"output": str(tmp_path / "out"), "documents": {"sources": ["texts.txt"], "held_out": 1e-6}, "chat": None}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(data), "utf-8")
    assert main(["pretrain", str(tmp_path / "recipe.yaml"), "--quiet"]) == 2
    assert "None of 1 documents is held out" in capsys.readouterr().err
    shutil.copy(tmp_path / "texts.txt", tmp_path / "more.txt")
    assert main(["pretrain", str(tmp_path / "recipe.yaml"), "documents.held_out=0.5", "--quiet"]) in (1, 2)
    assert "belongs to another recipe" not in capsys.readouterr().err
