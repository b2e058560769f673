"""A recipe in, an adapter out that serving answers with exactly as it was trained; and whatever keeps it from that."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from finetune.data.rendering import Renderer
from finetune.recipe import Recipe
from finetune.training.adapter import load_base, with_adapter, with_saved_adapter
from finetune.training.batches import Collator
from finetune.training.checkpoints import last_complete, step_of
from finetune.training.examples import write_examples
from finetune.training.folder import RunFolder
from finetune.training.prepared import rows_of
from finetune.training.progress import TrainingProgress
from finetune.training.run import train, training_device
from finetune.training.trainer import inputs_for, summed_loss
from pipelines import CinquainError, InputError, pipeline
from pipelines.models import resolve
from pipelines.models.fingerprint import read, weights_sha256
from pipelines.wording import sentence
from tests.doubles.seq2seq_training import ENGLISH, GERMAN
from tests.doubles.tiny import CHAT_TEMPLATE, tiny_chat_model
from tests.doubles.tiny_adapters import by_peft, turned
from tests.doubles.tiny_seq2seq import checkpoint
from tests.doubles.training_rows import QUESTIONS, THINKING, folder_of, losses, tiny_recipe, weights

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def learned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, dict[str, Any]]:
    """A run that is long enough to know its rows."""
    recipe = tiny_recipe(base, tmp_path_factory.mktemp("learned"), training__max_steps=160, training__evaluate=40)
    return recipe, train(recipe)


def test_the_loss_falls_and_only_the_adapter_changes(base: Path, learned: tuple[Recipe, dict[str, Any]]) -> None:
    recipe, figures = learned
    curve = {(step, name): value for step, name, value in losses(Path(recipe.output))}
    assert [step for step, name in curve if name == "eval_loss"] == [0, 40, 80, 120, 160]
    assert figures["base_validation_loss"] == curve[0, "eval_loss"] > 0.4
    assert figures["validation_loss"] == curve[figures["best_step"], "eval_loss"] < 0.05
    assert curve[160, "loss"] < 0.05
    assert figures["steps"] == 160
    # What was saved beside the base is all there is: the base's own file is as it was, and no other weight was trained.
    saved = load_file(Path(recipe.output) / "adapter_model.safetensors")
    assert all(".lora_A." in name or ".lora_B." in name for name in saved)
    assert all(weight.abs().max() > 0 for weight in saved.values())
    assert weights_sha256(resolve(str(base))) == figures["base_sha256"]


def test_nothing_but_the_adapter_can_be_trained(base: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(base, tmp_path)
    source = resolve(str(base))
    model = with_adapter(load_base(source, training_device(recipe)), source, recipe.adapter, 0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if "lora_" in name}
    assert len(trained) == 2 * 2 * 7  # A and B of seven linear layers in each of two blocks, and none of the output
    assert not (set(AutoModelForCausalLM.from_pretrained(base).state_dict()) & trained)


def test_the_served_adapter_gives_what_was_trained(base: Path, learned: tuple[Recipe, dict[str, Any]]) -> None:
    recipe, _ = learned
    chat = pipeline("dialogue", model=str(base), adapter=recipe.output, dtype="float32", device="cpu")
    answers = [chat(messages=[{"role": "user", "content": each}], temperature=0.0) for each in QUESTIONS]
    assert [answer.text for answer in answers] == [answer for _, answer in turned(1)] * 2
    assert not [note for answer in answers for note in answer.notes]
    # Token by token what PEFT itself gives for the tokens that were trained on.
    renderer = Renderer.load(str(base), "dialogue")
    ids = renderer.format.tokens([{"role": "user", "content": QUESTIONS[0]}])  # type: ignore[attr-defined]
    assert renderer.tokenizer.decode(by_peft(base, Path(recipe.output), ids)) == answers[0].text
    # And the base answers otherwise.
    alone = pipeline("dialogue", model=str(base), dtype="float32", device="cpu")
    others = [alone(messages=[{"role": "user", "content": each}], temperature=0.0).text for each in QUESTIONS]
    assert others != [answer.text for answer in answers]


def test_the_fingerprint_holds_all_that_serving_needs(base: Path, learned: tuple[Recipe, dict[str, Any]]) -> None:
    recipe, figures = learned
    out = Path(recipe.output)
    fingerprint = read(out)
    renderer = Renderer.load(str(base), "dialogue")
    assert fingerprint is not None
    assert fingerprint.task == "dialogue"
    assert fingerprint.prompt == renderer.prompt
    assert fingerprint.chat_template == renderer.tokenizer.chat_template
    assert fingerprint.base.sha256 == weights_sha256(resolve(str(base)))
    ledger = json.loads((out / "data" / "ledger.json").read_bytes())
    assert fingerprint.data_sha256 == ledger["result_sha256"] == figures["data"]["result_sha256"]
    assert {"cinquain", "torch", "transformers", "peft"} <= set(fingerprint.versions)
    assert json.loads((out / "adapter_config.json").read_bytes())["base_model_name_or_path"] == str(base)
    assert not (out / ".cinquain-work").exists()


@pytest.mark.parametrize("kind", ["rslora", "dora"])
def test_other_kinds_of_adapters_learn_and_are_served_as_they_were_trained(
    base: Path, tmp_path: Path, kind: str
) -> None:
    changes = {"training__max_steps": 80, "training__evaluate": 40, "adapter__kind": kind, "adapter__rank": 4}
    recipe = tiny_recipe(base, tmp_path, **{**changes, "adapter__alpha": 8 if kind == "rslora" else 16})
    figures = train(recipe)
    out = Path(recipe.output)
    assert figures["validation_loss"] < 0.1 < figures["base_validation_loss"]
    config = json.loads((out / "adapter_config.json").read_bytes())
    assert (config["use_rslora"], config["use_dora"]) == (kind == "rslora", kind == "dora")
    assert any("magnitude" in name for name in load_file(out / "adapter_model.safetensors")) == (kind == "dora")
    chat = pipeline("dialogue", model=str(base), adapter=str(out), dtype="float32", device="cpu")
    answers = [chat(messages=[{"role": "user", "content": each}], temperature=0.0).text for each in QUESTIONS]
    assert answers == [answer for _, answer in turned(1)] * 2


def test_an_adapter_for_another_base_is_refused(learned: tuple[Recipe, dict[str, Any]], tmp_path: Path) -> None:
    other = tiny_chat_model(tmp_path / "other", steps=119)
    with pytest.raises(InputError, match=r"was trained on .* and this is"):
        pipeline("dialogue", model=str(other), adapter=learned[0].output)


def test_a_finished_run_has_nothing_left_to_do(learned: tuple[Recipe, dict[str, Any]]) -> None:
    recipe, figures = learned
    before = {path: path.stat().st_mtime_ns for path in Path(recipe.output).rglob("*")}
    assert train(recipe) == figures
    assert {path: path.stat().st_mtime_ns for path in Path(recipe.output).rglob("*")} == before


def test_the_same_recipe_gives_the_same_weights_in_other_passes(base: Path, tmp_path: Path) -> None:
    first, second, third = (
        tiny_recipe(base, tmp_path / name, **{f"training__{key}": value for key, value in changes.items()})
        for name, changes in {
            "first": {},
            "again": {},
            "cut": {"pass_tokens": 40, "packed": "on", "gradient_checkpointing": "on"},
        }.items()
    )
    for recipe in (first, second, third):
        train(recipe)
    one, two, three = (weights(Path(recipe.output)) for recipe in (first, second, third))
    assert one == two
    for (step, name, ours), (_, _, theirs) in zip(losses(Path(first.output)), losses(Path(third.output)), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-4), (step, name)
    assert one.keys() == three.keys()


def test_another_recipe_in_the_same_folder_is_refused_with_both_hashes(base: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(base, tmp_path, training__max_steps=1)
    train(recipe)
    other = tiny_recipe(base, tmp_path, training__max_steps=1, training__seed=1)
    with pytest.raises(InputError) as caught:
        train(other)
    assert caught.value.code == "training_other_recipe"
    assert caught.value.parameters["found"] != caught.value.parameters["wanted"]
    # What decides only how it is computed may differ.
    assert train(tiny_recipe(base, tmp_path, training__max_steps=1, training__pass_tokens=64))["steps"] == 1


def test_a_folder_with_foreign_files_is_left_alone(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "adapter_model.safetensors").write_bytes(b"mine")
    with pytest.raises(InputError, match="that no training here began with"):
        train(tiny_recipe(base, tmp_path))
    assert (out / "adapter_model.safetensors").read_bytes() == b"mine"


def test_two_runs_into_one_folder(base: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(base, tmp_path)
    code = (
        "import sys\nfrom pathlib import Path\nfrom finetune.training.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).held():\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, recipe.output]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(CinquainError) as caught:
            train(recipe)
        other.communicate("")
    assert caught.value.code == "training_in_use"
    with RunFolder(Path(recipe.output)).held():
        pass


def test_a_target_that_the_model_does_not_have(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        train(tiny_recipe(base, tmp_path, adapter__targets=["q_prj"]))
    assert caught.value.code == "adapter_target_missing"
    assert caught.value.parameters["nearest"].startswith("q_proj")


def test_quantization_needs_a_gpu(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        train(tiny_recipe(base, tmp_path, adapter__quantization="4bit"))
    assert caught.value.code == "quantization_device"


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe(
        base, tmp_path, training__learning_rate=1e30, training__max_grad_norm=1e30, training__evaluate=1
    )
    with pytest.raises(CinquainError) as caught:
        train(recipe)
    assert caught.value.code == "training_not_finite"
    assert "learning_rate" in sentence(caught.value)
    last = last_complete(Path(recipe.output) / ".cinquain-work" / "checkpoints")
    assert last is not None
    assert step_of(last) == caught.value.parameters["step"] - 1
    finite = [weight.isfinite().all() for weight in load_file(last / "adapter_model.safetensors").values()]
    assert all(finite)
    assert capsys.readouterr().out == ""


def test_without_held_out_rows_the_last_step_is_taken_and_that_is_said(base: Path, tmp_path: Path) -> None:
    said: list[str] = []

    class Told(TrainingProgress):
        def say(self, code: str, **parameters: Any) -> None:
            said.append(code)

    recipe = tiny_recipe(base, tmp_path, data__split={"validation": 0.0}, training__max_steps=4)
    figures = train(recipe, progress=Told())
    assert "training_no_held_out" in said
    assert figures["best_step"] == figures["steps"] == 4
    assert figures["validation_loss"] is None


def test_training_stops_where_nothing_gets_better(base: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        base, tmp_path, training__max_steps=400, training__evaluate=2, training__patience=2,
        training__learning_rate=0.2, training__schedule="constant",
    )  # fmt: skip
    figures = train(recipe)
    assert figures["steps"] < 400
    judged = {step: value for step, name, value in losses(Path(recipe.output)) if name == "eval_loss" and step}
    assert figures["best_step"] == min(judged, key=lambda step: judged[step])
    assert figures["steps"] == figures["best_step"] + 4


def test_the_adapter_is_the_best_checkpoint_to_the_byte(base: Path, learned: tuple[Recipe, dict[str, Any]]) -> None:
    recipe, figures = learned
    renderer = Renderer.load(str(base), "dialogue")
    rows = [renderer.render(row) for row in rows_of(Path(recipe.output) / "data" / "validation.jsonl")]
    examples = write_examples(Path(recipe.output).parent / "held-out", rows)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a person who trains is not told what PEFT and transformers have to settle
        model = with_saved_adapter(model, Path(recipe.output))
    batch = Collator(examples, 100_000, 0)(range(len(examples)))
    with torch.no_grad():
        loss = sum(summed_loss(model, part, inputs_for(model)) for part in batch["passes"]) / batch["trained"]
    assert float(loss) == pytest.approx(figures["validation_loss"], rel=1e-5)


def test_an_encoder_decoder_model_learns_and_is_served(tmp_path: Path) -> None:
    base = checkpoint("marian", tmp_path)
    turned_round = [*GERMAN[1:], GERMAN[0]]
    rows = [{"source": text, "target": other} for text, other in zip(ENGLISH, turned_round, strict=True)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in rows))
    source = {"path": str(path), "columns": {"text": "source", "reply": "target"}}
    recipe = tiny_recipe(
        base, tmp_path, task="translation", data__split={"validation": 0.0},
        data__sources=[{**source, "values": {"source": "en", "target": "de"}}],
        training__max_steps=300, training__evaluate=300, training__learning_rate=2e-2, adapter__rank=32,
        training__batch_size=12,
    )  # fmt: skip
    assert train(recipe)["loss"] < 0.05
    translate = pipeline("translation", model=str(base), adapter=recipe.output, dtype="float32", device="cpu")
    answers = [translate(text=text, source="en", target="de").text for text in ENGLISH]
    assert answers == turned_round


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, None, THINKING], ids=["chat", "base", "thinking"])
def test_serving_reads_a_request_as_the_tokens_that_were_trained_on(template: str | None, tmp_path: Path) -> None:
    base = folder_of(tmp_path / "model", template)
    recipe = tiny_recipe(Path(base), tmp_path, training__max_steps=1)
    train(recipe)
    chat = pipeline("dialogue", model=base, adapter=recipe.output, dtype="float32", device="cpu")
    row = next(rows_of(Path(recipe.output) / "data" / "train.jsonl"))
    engine: Any
    engine, prompt = chat.wording()
    assert prompt == Renderer.load(base, "dialogue").prompt
    served = engine.format.tokens(chat.task.messages(chat.task.request_type(**row.request), prompt))
    trained = Renderer.load(base, "dialogue").render(row)
    assert trained.tokens[: len(served)] == served
    assert not any(trained.labels[: len(served)])
    assert trained.labels[-1]
