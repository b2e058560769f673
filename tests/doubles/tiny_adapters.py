"""Adapters for the tiny chat model: trained in seconds until each gives its own answers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines import InputError, load_prompt
from pipelines.engines.base import Call, Completion
from pipelines.engines.local import LocalEngine
from pipelines.generation import GenerationOptions
from pipelines.models.fingerprint import BaseReference, Fingerprint, weights_sha256, write
from pipelines.models.source import ModelSource
from pipelines.prompts import Prompt
from tests.doubles.tiny import PAIRS, SPECIAL

QUESTIONS = [question for question, _ in PAIRS]
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def turned(places: int) -> list[tuple[str, str]]:
    """The questions of the tiny model, each with the answer of another one: words that it knows, where it has none."""
    return [(question, PAIRS[(place + places) % len(PAIRS)][1]) for place, (question, _) in enumerate(PAIRS)]


def tiny_adapter(base: Path, folder: Path, pairs: list[tuple[str, str]], **config: Any) -> Path:
    """Train an adapter on a tiny chat model until it gives these answers, and save it.

    Args:
        base: Folder of the model.
        folder: Where the adapter goes.
        pairs: Questions and answers.
        config: Fields of ``LoraConfig`` that differ.

    Returns:
        ``folder``.
    """
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(base)
    settings = {"r": 8, "lora_alpha": 16, "target_modules": ALL_LINEAR, **config}
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**settings))
    rows = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
            tokenize=True,
            return_dict=False,
        )
        for question, answer in pairs
    ]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    answers = (ids == SPECIAL.index("<|assistant|>")).cumsum(1) > 0
    labels = ids.masked_fill((ids == 0) | ~answers, -100)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=2e-2)
    for _ in range(200):
        loss = model(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss
        if loss.item() < 0.02:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05, f"the tiny adapter did not learn: loss {loss.item():.3f}"
    model.save_pretrained(folder)
    return folder


def random_adapter(base: Path, folder: Path, config: PeftConfig | None = None, **changes: Any) -> Path:
    """Save an adapter whose every weight differs from what would change nothing; plain LoRA without ``config``."""
    config = config or LoraConfig(**{"r": 4, "target_modules": ["q_proj", "down_proj"], **changes})
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    generator = torch.Generator().manual_seed(len(str(folder.name)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad or "bias" in name:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder)
    return folder


def sign(adapter: Path, base: Path, *, prompt: Prompt | None = None, template: str | None = None) -> Fingerprint:
    """Write an adapter's fingerprint: trained on this base, for dialogue unless the prompt says otherwise."""
    prompt = prompt or load_prompt("dialogue")
    template = template or AutoTokenizer.from_pretrained(base).chat_template
    fingerprint = Fingerprint(
        base=BaseReference(reference=str(base), sha256=weights_sha256(ModelSource(str(base), "folder", base))),
        task=prompt.task,
        prompt=prompt,
        chat_template=template,
        prompt_sha256=prompt.digest(template),
        versions={"peft": "0"},
    )
    write(adapter, fingerprint)
    return fingerprint


def by_peft(base: Path, adapter: Path | None, ids: list[int], tokens: int = 24) -> list[int]:
    """What PEFT's own ``PeftModel.generate`` gives, greedy in float32, up to the end of the reply."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    if adapter:
        model = PeftModel.from_pretrained(model, str(adapter)).eval()
    with torch.inference_mode():
        output = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=tokens, do_sample=False)
    reply: list[int] = output[0, len(ids) :].tolist()
    return reply[: reply.index(1)] if 1 in reply else reply


def load(base: Path, *adapters: Path, **options: Any) -> LocalEngine:
    """An engine in float32 on a tiny model, with these adapters."""
    engine = LocalEngine(ModelSource(str(base), "folder", base), **{"dtype": "float32", "device": "cpu", **options})
    for adapter in adapters:
        engine.adapters.load(adapter)
    return engine


def ask(question: str, adapter: str | None = None, **options: Any) -> Call:
    """A greedy call, by default to the base model."""
    options = {"max_new_tokens": 24, "temperature": 0.0, **options}
    return Call([{"role": "user", "content": question}], GenerationOptions(**options), adapter=adapter)


def text(engine: LocalEngine, call: Call) -> str:
    """The reply to a call."""
    *_, last = engine.stream(call)
    assert isinstance(last, Completion)
    return last.text


def answer(question: str, places: int) -> str:
    """What an adapter that was trained on ``turned(places)`` says; 0 is the base model."""
    return dict(turned(places))[question]


def error_of(code: str, action: Any) -> InputError:
    """Run an action that must fail with this code, in one sentence."""
    with pytest.raises(InputError) as caught:
        action()
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    return caught.value
