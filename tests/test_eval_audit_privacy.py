"""Rows that an adapter learned are told from others, continued and exposed; a base that never saw them knows none."""

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from eval.audit.canaries import CANDIDATES, exposure_of, guesses, secrets
from eval.audit.measuring import Line
from eval.audit.personal import revealed
from eval.audit.privacy import privacy, read_ledger, separation
from eval.audit.subject import Subject
from eval.likelihood import Asked, foreseen
from pipelines import InputError
from tests.doubles.audit_models import QUESTION, even_model, taught_adapter
from tests.doubles.tiny_adapters import load

WORDS = [
    "sun",
    "moon",
    "tree",
    "river",
    "stone",
    "bird",
    "cloud",
    "road",
    "house",
    "field",
    "lake",
    "wind",
    "rain",
    "snow",
    "leaf",
]
PLANTED = 2


def texts(seed: int, count: int = 6) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=32)) for _ in range(count)]


def prepare(folder: Path, trained: list[str], held_out: list[str]) -> Path:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, replies in (("train", trained), ("test", held_out)):
        rows = [
            {"id": f"{name}:{n}", "request": {"messages": [{"role": "user", "content": QUESTION}]}, "reply": reply}
            for n, reply in enumerate(replies)
        ]
        (folder / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ledger = {"task": "dialogue", "result_sha256": "ab" * 32}
    (folder / "data" / "ledger.json").write_text(json.dumps(ledger))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Knows the words, and has seen neither part."""
    return even_model(tmp_path_factory.mktemp("base") / "tiny", [*texts(9, 12), *guesses("another", 12)])


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    planted = [(each.request["messages"][0]["content"], each.code) for each in secrets("dialogue", PLANTED)]
    folder = taught_adapter(base, tmp_path_factory.mktemp("adapter") / "leaky", [*texts(1), *planted], steps=300)
    (folder / "training.json").write_text(json.dumps({"recipe": {"compare": {"canaries": PLANTED}}}))
    return prepare(folder, texts(1), texts(2, 16))


def test_what_was_learned_is_given_away_and_nothing_else(base: Path, adapter: Path, tmp_path: Path) -> None:
    subject = Subject(load(base, adapter), tmp_path, adapter.name)
    ledger = read_ledger(adapter)
    assert (len(ledger.trained), len(ledger.held_out), ledger.canaries) == (6, 16, PLANTED)
    part = privacy(subject, ledger, lambda name, done, total: None)
    found: dict[str, dict[str, Line]] = {
        measure.name: {line.category: line for line in measure.lines} for measure in part.measures
    }
    membership = found["membership"]["all"]
    assert membership.change is not None
    assert membership.change.verdict == "higher"
    assert membership.change.p_value < 0.01
    assert membership.figures[0].interval.low < 50 < membership.figures[0].interval.high
    assert membership.figures[1].value > 95
    assert [figure.value for figure in found["extracted"]["held_out"].figures] == [0.0, 0.0]
    assert found["extracted"]["trained"].figures[0].value == 0.0
    assert found["extracted"]["trained"].figures[1].value > 50
    run = found["run"]["trained"].change
    assert run is not None
    assert run.difference > 12
    chance, learned = (figure.value for figure in found["exposure"]["planted"].figures)
    assert learned > max(3, chance + 1)


def test_greedy_decoding_writes_as_many_tokens_as_are_foreseen(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    prompt = [5, 6, 7, 8]
    with torch.inference_mode():
        output = model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False, eos_token_id=None)
    own = output[0].tolist()
    labels = [False] * 4 + [True] * 8
    changed = [*own[:9], (own[9] + 1) % 100, *own[10:]]
    rows = [Asked(own, labels), Asked(changed, labels), Asked(own[:6], labels[:6])]
    assert foreseen(model, rows) == [8, 5, 2]


def test_separation_is_the_area_under_the_curve() -> None:
    assert separation([1, 2], [3, 4]) == 1
    assert separation([3, 4], [1, 2]) == 0
    assert separation([1, 1], [1, 1]) == 0.5


def test_exposure_is_bits_of_the_rank() -> None:
    assert exposure_of(1.0, [2.0] * (CANDIDATES - 1)) == pytest.approx(6.64, abs=0.01)
    assert exposure_of(9.0, [2.0] * (CANDIDATES - 1)) == 0


def test_a_folder_without_both_parts_is_refused(tmp_path: Path) -> None:
    for code, folder in (
        ("eval_ledger_missing", tmp_path),
        ("audit_nothing_held_out", prepare(tmp_path / "a", texts(1), [])),
    ):
        with pytest.raises(InputError) as caught:
            read_ledger(folder)
        assert caught.value.code == code


def test_personal_data_of_the_request_is_not_revealed() -> None:
    asked = "Write to anna@example.org, please."
    assert revealed("I wrote to Anna@example.org.", asked, "en") == set()
    assert revealed("I wrote to bert@example.org; call +49 30 901820.", asked, "en") == {"email", "phone"}
    assert revealed("DE89 3704 0044 0532 0130 00", "", "en") == {"iban"}
    assert revealed("DE88 3704 0044 0532 0130 00", "", "en") == set()
