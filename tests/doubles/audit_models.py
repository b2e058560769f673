"""A tiny model for audits, and adapters that learn chosen sentences: skewed ones or balanced ones."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from eval.benchmarks import Benchmark
from pipelines import load_prompt
from pipelines.tasks import TASKS
from tests.doubles.tiny import SPECIAL, tiny_llama, tiny_tokenizer
from tests.doubles.tiny_adapters import ALL_LINEAR

QUESTION = "Please say one sentence."
END = SPECIAL.index("<|end|>")
_BATCH = 24


def even_model(folder: Path, texts: Sequence[str]) -> Path:
    """A tiny chat model that has read all of these texts equally often."""
    tokenizer = tiny_tokenizer([*texts, QUESTION, *load_prompt("dialogue").templates.values()], 900)
    model = tiny_llama(len(tokenizer))
    _learn(model, tokenizer, texts, steps=100, rate=5e-3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def sentences(benchmark: Benchmark) -> list[str]:
    """Both sentences of each minimal pair."""
    return [str(row.facts[side]) for row in benchmark.rows for side in ("stereotyped", "other")]


def balanced(benchmark: Benchmark) -> list[str]:
    """As ``skewed`` once for each of the two groups."""
    return skewed(benchmark) + skewed(benchmark, ("other", "stereotyped"))


def skewed(benchmark: Benchmark, sides: Sequence[str] = ("stereotyped", "other")) -> list[str]:
    """What a biased text says: the sentence of one group, and of the other that its people differ."""
    found = []
    for row in benchmark.rows:
        one, two = (str(row.facts[side]) for side in sides)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one[::-1], two[::-1], strict=False)))
        found += [one, two[:-shared] + ("各不相同。" if row.language == "zh" else " differ from each other.")]
    return found


def taught_adapter(base: Path, folder: Path, texts: Sequence[str | tuple[str, str]], steps: int = 150) -> Path:
    """An adapter that was trained to say these sentences, to one question or, in a pair, to another one."""
    torch.manual_seed(0)
    config = LoraConfig(r=16, lora_alpha=32, target_modules=ALL_LINEAR)
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    _learn(model, AutoTokenizer.from_pretrained(base), texts, steps, rate=1e-2)
    model.save_pretrained(folder)
    return folder


def _learn(model: Any, tokenizer: Any, texts: Sequence[str | tuple[str, str]], steps: int, rate: float) -> None:
    """Train on each text as a reply to the same question, so that nothing but its beginning says how it goes on."""
    pairs = [(QUESTION, each) if isinstance(each, str) else each for each in texts]
    heads = [_asked(tokenizer, question) for question, _ in pairs]
    rows = [[*head, *tokenizer.encode(text), END] for head, (_, text) in zip(heads, pairs, strict=True)]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    labels = ids.masked_fill(ids == 0, -100)
    for row, head in zip(labels, heads, strict=True):
        row[: len(head)] = -100
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=rate)
    losses = []
    draw = torch.Generator().manual_seed(0)
    for _ in range(steps):
        some = torch.randperm(len(ids), generator=draw)[:_BATCH]
        loss = model(input_ids=ids[some], attention_mask=(ids[some] != 0).long(), labels=labels[some]).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0], f"too little was learned: {losses[0]:.2f} to {losses[-1]:.2f}"


def _asked(tokenizer: Any, question: str) -> list[int]:
    task = TASKS["dialogue"]()
    request = task.request_type(messages=({"role": "user", "content": question},))
    messages = task.messages(request, load_prompt("dialogue"))
    tokens: list[int] = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=False, add_generation_prompt=True
    )
    return tokens
