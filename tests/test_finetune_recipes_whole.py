"""Each recipe for the embedded model, from the rows that ship to a card: a few steps, and replies of a few tokens."""

import json
from pathlib import Path

import pytest

from finetune.finetuning import finetune
from finetune.recipe import RECIPES, load_recipe
from pipelines import pipeline

CPU = ["code_generation", "creative_writing", "dialogue", "summarization", "translation"]

pytestmark = pytest.mark.model


def short(name: str, folder: Path) -> dict[str, object]:
    """What makes a run of the recipe short."""
    return {
        "output": str(folder / name), "training.max_steps": 3, "training.batch_size": 4, "training.validation_rows": 4,
        "training.evaluate": 3, "compare.rows": 3, "compare.max_new_tokens": 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "translation" else pytest.mark.slow) for name in CPU]
)
def test_a_recipe_runs_to_its_card_and_is_served(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(RECIPES / f"{name}.yaml", short(name, tmp_path))
    done = finetune(recipe)
    assert done is not None
    assert done.figures["steps"] == 3
    assert done.judgement is not None
    assert (done.judgement.rows, done.judgement.failed) == (3, (0, 0))
    assert (done.exposure is not None) == (recipe.compare.canaries > 0)
    card = (done.folder / "README.md").read_text(encoding="utf-8")
    assert f"cinquain run {name}" in card
    ledger = json.loads((done.folder / "data" / "ledger.json").read_bytes())
    assert ledger["result_sha256"] == done.figures["data"]["result_sha256"]
    request = next(iter((done.folder / "data" / "test.jsonl").read_text(encoding="utf-8").splitlines()))
    served = pipeline(name, "smollm2-135m", str(done.folder))
    generation = served(**json.loads(request)["request"], max_new_tokens=4, temperature=0)
    learned_from = generation.provenance["engine"]["adapter_data_sha256"]  # planted canaries are rows, too
    assert (learned_from == ledger["result_sha256"]) == (recipe.compare.canaries == 0)
