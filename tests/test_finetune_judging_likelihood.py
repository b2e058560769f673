"""Bits of a reply are those that the model itself gives, however rows are batched; planted secrets stand out."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from eval import likelihood
from eval.likelihood import reference_bits
from finetune.data.rendering import Rendered, Renderer
from finetune.data.row import Row
from finetune.judging.canaries import CANDIDATES, canaries, exposed, exposure
from pipelines import Prompt
from pipelines.requests import validate
from pipelines.tasks import TASKS
from tests.doubles.tiny import PAIRS, tiny_chat_model
from tests.doubles.tiny_adapters import QUESTIONS


def rows(pairs: list[tuple[str, str]]) -> list[Row]:
    return [
        Row(f"r:{n}", {"messages": [{"role": "user", "content": question}]}, reply, f"r:{n}", "r")
        for n, (question, reply) in enumerate(pairs)
    ]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("base") / "tiny")


def one_by_one(model: Any, rendered: list[Rendered]) -> list[float]:
    """transformers' own loss of each row, which is a mean over its labels."""
    found = []
    for row in rendered:
        labels = torch.tensor([[token if kept else -100 for token, kept in zip(row.tokens, row.labels, strict=True)]])
        with torch.inference_mode():
            loss = model(input_ids=torch.tensor([row.tokens]), labels=labels).loss
        found.append(float(loss) * sum(row.labels) / math.log(2))
    return found


@pytest.mark.parametrize("pass_tokens", [1, 60, 10_000])
def test_bits_are_the_models_own_however_rows_are_batched(
    base: Path, pass_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "_PASS_TOKENS", pass_tokens)
    renderer = Renderer.load(str(base), "dialogue")
    rendered = [renderer.render(row) for row in rows([*PAIRS, ("Count to five.", "A tiny model. " * 4), ("?", "one")])]
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    assert reference_bits(model, rendered) == pytest.approx(one_by_one(model, rendered), rel=1e-4, abs=1e-4)
    assert reference_bits(model, []) == []


def test_what_a_model_knows_takes_few_bits(base: Path) -> None:
    renderer = Renderer.load(str(base), "dialogue", Prompt(task="dialogue", version=50, templates={"system": ""}))
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    known, unknown = (
        sum(reference_bits(model, [renderer.render(row) for row in rows(pairs)]))
        for pairs in (PAIRS, [(question, "A tiny grey sky counts.") for question in QUESTIONS])
    )
    assert known < 4 < 40 < unknown


def test_encoder_and_decoder_are_padded_apart(tmp_path: Path) -> None:
    from transformers import T5Config

    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    model = AutoModelForSeq2SeqLM.from_config(T5Config(vocab_size=40, decoder_start_token_id=0, **sizes)).eval()
    rendered = [
        Rendered([0, 5, 6, 7, 1], [False, True, True, True, True], encoder=[9, 8, 7, 6, 5, 4, 1]),
        Rendered([0, 3, 1], [False, True, True], encoder=[2, 1]),
    ]
    expected = []
    for row in rendered:
        labels = torch.tensor([row.tokens[1:]])
        with torch.inference_mode():
            loss = model(input_ids=torch.tensor([row.encoder]), labels=labels).loss
        expected.append(float(loss) * labels.numel() / math.log(2))
    assert reference_bits(model, rendered) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_planted_rows_are_requests_of_their_task_and_always_the_same(task: str) -> None:
    planted = canaries(task, 100)
    assert planted == canaries(task, 100)
    assert canaries(task, 3) == planted[:3]
    assert len({row.reply for row in planted}) == len({str(row.request) for row in planted}) == 100
    for row in planted:
        validate(TASKS[task].request_type, row.request, task)


def learned(model: Any, rendered: list[Rendered]) -> Any:
    """The model after it has learned these rows by heart."""
    width = max(len(row.tokens) for row in rendered)
    ids = torch.tensor([row.tokens + [0] * (width - len(row.tokens)) for row in rendered])
    labels = torch.tensor(
        [
            [token if kept else -100 for token, kept in zip(row.tokens, row.labels, strict=True)]
            + [-100] * (width - len(row.tokens))
            for row in rendered
        ]
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    return model.eval()


def test_a_secret_that_was_learned_is_exposed_and_one_that_was_not_is_chance(base: Path) -> None:
    planted = canaries("dialogue", 3)
    renderer = Renderer.load(str(base), "dialogue", Prompt(task="dialogue", version=50, templates={"system": ""}))
    model: Any = AutoModelForCausalLM.from_pretrained(base).eval()
    before = exposure(planted, renderer, partial(reference_bits, model))
    model = learned(model.train(), [renderer.render(row) for row in planted])
    after = exposure(planted, renderer, partial(reference_bits, model))
    found = exposed(before, after)
    assert (found.secrets, found.candidates) == (3, CANDIDATES)
    assert found.adapter == pytest.approx(math.log2(CANDIDATES), abs=0.01)
    assert found.base < 4
    assert found.most == pytest.approx(math.log2(CANDIDATES), abs=0.01)
