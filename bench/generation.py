"""Generation by the suite against plain transformers: the same weights, the same prompts, in turn.

The baseline is ``AutoModelForCausalLM.generate``, greedy: in float32 on a CPU (what a first script does), in the
engine's own number format on a GPU and wherever a line says "same dtype".
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from texts import COPY, QUESTIONS, SENTENCES, STORY, mixed_questions
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines import TASKS, Pipeline, pipeline
from pipelines.engines.base import Call, Completion
from pipelines.generation import GenerationOptions
from pipelines.prompts import Message

__all__ = ["compare", "first_tokens"]


def paired(first: Callable[[], float], second: Callable[[], float], rounds: int) -> dict[str, Any]:
    """Run both in turn; medians of what they return, and the median of the paired ratios first / second."""
    figures = [(first(), second()) for _ in range(rounds)]
    return {
        "ours": statistics.median(a for a, _ in figures),
        "plain": statistics.median(b for _, b in figures),
        "ratio": statistics.median(a / b for a, b in figures),
        "rounds": figures,
    }


class Plain:
    """transformers' own ``generate`` on the weights of an engine."""

    def __init__(self, engine: Any, dtype: torch.dtype) -> None:
        folder = engine.source.arguments()["pretrained_model_name_or_path"]
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        self.model = model.to(engine.model.device).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")

    def __call__(self, calls: list[Call], size: int) -> float:
        """Tokens per second for calls in batches of ``size``, in the order given."""
        texts = [
            self.tokenizer.apply_chat_template(c.messages, add_generation_prompt=True, tokenize=False) for c in calls
        ]
        limit, tokens = calls[0].options.max_new_tokens, 0
        started = time.perf_counter()
        for start in range(0, len(texts), size):
            inputs = self.tokenizer(
                texts[start : start + size], return_tensors="pt", padding=True, add_special_tokens=False
            )
            inputs = inputs.to(self.model.device)
            output = self.model.generate(**inputs, max_new_tokens=limit, do_sample=False)
            output = output[:, inputs["input_ids"].shape[1] :]
            # Tokens up to and with the one that ends each reply; what finished rows are padded with does not count.
            ends = output == self.tokenizer.eos_token_id
            tokens += int(torch.where(ends.any(1), ends.int().argmax(1) + 1, output.shape[1]).sum())
        return tokens / (time.perf_counter() - started)


def ours(engine: Any, calls: list[Call]) -> float:
    """Tokens per second of the engine."""
    started = time.perf_counter()
    if len(calls) == 1:
        completions = [item for item in engine.stream(calls[0]) if isinstance(item, Completion)]
    else:
        completions = engine.batch(calls)
    return sum(each.completion_tokens for each in completions) / (time.perf_counter() - started)


def calls(questions: list[str] | list[list[Message]], limit: int) -> list[Call]:
    """Greedy calls with at most ``limit`` new tokens."""
    options = GenerationOptions(max_new_tokens=limit, temperature=0.0)
    turns = [[{"role": "user", "content": each}] if isinstance(each, str) else each for each in questions]
    return [Call(each, options, shared=len(each) - 1) for each in turns]


def translations(translate: Pipeline) -> list[list[Message]]:
    """The messages of 16 translation requests."""
    prompt, request = translate.wording()[1], TASKS["translation"].request_type
    return [translate.task.messages(request(text=text, source="en", target="fr"), prompt) for text in SENTENCES]


MIXED_ROUNDS = 2
"""Rounds of the line of 64 prompts: each takes minutes on two cores, and within one the prompts even out already."""


def compare(translate: Pipeline, rounds: int, only: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Tokens per second of each workload whose name holds ``only``, ours and plain."""
    engine: Any = translate.engine
    own = engine.model.dtype
    plain = Plain(engine, own if engine.model.device.type == "cuda" else torch.float32)
    same = plain if own == plain.model.dtype else Plain(engine, own)
    workloads = {
        "single stream, 128 tokens": (calls([STORY], 128), plain, 1),
        "single stream, copy-like": (calls([COPY], 96), plain, 1),
        "batch of 16 questions": (calls(QUESTIONS, 64), plain, 16),
        "batch of 16 translations": (calls(translations(translate), 64), plain, 16),
        "64 mixed, unsorted 8s, same dtype": (calls(mixed_questions(), 32), same, 8),
    }
    for name, (batch, side, size) in workloads.items():
        if only in name:
            # Warm-up. CUDA loads the kernels of a batch as they are first used; on a processor a batch takes minutes.
            first = batch if engine.model.device.type == "cuda" else batch[:1]
            ours(engine, first), side(first, size if len(first) > 1 else 1)
            times = min(rounds, MIXED_ROUNDS) if len(batch) > 16 else rounds
            figures = paired(lambda c=batch: ours(engine, c), lambda c=batch, p=side, n=size: p(c, n), times)  # type: ignore[misc]
            yield name, figures


def first_tokens(translate: Pipeline, rounds: int, turns: int = 8) -> dict[str, Any]:
    """Seconds to the first token of the first and of the last turn of a chat."""
    chat = Pipeline(TASKS["dialogue"](), translate.engine)
    figures = []
    for number in range(rounds + 1):
        messages: list[Message] = []
        seconds: list[float] = []
        for turn in range(turns):
            messages.append({"role": "user", "content": f"Talk {number}, question {turn}: {QUESTIONS[turn]}"})
            result = chat(messages=messages, temperature=0.0, max_new_tokens=40)
            seconds.append(result.timing.first_token_s or 0.0)
            messages.append({"role": "assistant", "content": result.text or "-"})
        figures.append((seconds[0], seconds[-1]))
    figures = figures[1:]  # the first is the warm-up
    return {
        "first": statistics.median(first for first, _ in figures),
        "last": statistics.median(last for _, last in figures),
        "ratio": statistics.median(last / first for first, last in figures),
        "turns": turns,
        "rounds": figures,
    }


def load(model: str, **options: Any) -> Pipeline:
    """The model on the local engine."""
    return pipeline("translation", model=model, **options)
