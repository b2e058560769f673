"""Speed of the suite against plain transformers, on this machine. `make bench`.

Both sides run the same weights and prompts in one process, in turn (A B A B …), so that a machine whose speed drifts
slows both; medians are compared. The baseline is ``AutoModelForCausalLM.generate`` in float32, greedy. A table comes
first, and the last line is one JSON object.
"""

import argparse
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from pipelines import TASKS, pipeline
from pipelines.engines.base import Call, Completion
from pipelines.generation import GenerationOptions

MODEL = "smollm2-135m"
STORY = "Tell me a long story about a cat who lives in a lighthouse and reads to the sailors."
QUESTIONS = [
    "What is the capital of France?",
    "Name three fruits that grow on trees and say in one sentence each how they taste.",
    "Explain to a child why the sky is blue.",
    "Write a short note to a neighbour whose dog barks at night. Be kind, and suggest a talk over coffee.",
    "What is seven times eight?",
    "Give me five names for a bakery.",
    "Why do leaves fall in autumn? Answer for a gardener who wants to know when to rake, and mention light.",
    "Who wrote Hamlet?",
    "How do I boil an egg so that the yolk stays soft?",
    "List the planets of the solar system in order of their distance from the sun.",
    "What does a librarian do all day?",
    "Describe the smell of rain on dry ground in two sentences, without the word 'rain', as if for a blind reader.",
    "Is a tomato a fruit?",
    "What should I pack for a weekend in the mountains in late October, when nights are cold and paths are wet?",
    "Say hello.",
    "Write one line of a song about trains.",
]
SENTENCES = [
    "The meeting starts at nine.",
    "Please send me the report before Friday so that I can read it on the train.",
    "Our garden is full of flowers.",
    "She bought two tickets for the concert, but her brother could not come.",
    "Where is the nearest pharmacy?",
    "The price rose by five percent last year.",
    "I would like to change my reservation to the tenth of May, if that is still possible.",
    "Good morning.",
    "The old bridge was closed because of the storm, and traffic had to go through the village.",
    "We have no milk.",
    "He has worked in this hospital for twenty years.",
    "Turn left after the church and walk straight on until you see the river.",
    "My phone is broken.",
    "The museum is free on Sundays.",
    "Children under twelve must be accompanied by an adult at all times.",
    "Thank you for your help.",
]


def paired(first: Callable[[], float], second: Callable[[], float], rounds: int) -> dict[str, Any]:
    """Run both in turn; medians of what they return, and the median of the paired ratios first / second."""
    first(), second()  # warm-up
    figures = [(first(), second()) for _ in range(rounds)]
    return {
        "ours": statistics.median(a for a, _ in figures),
        "plain": statistics.median(b for _, b in figures),
        "ratio": statistics.median(a / b for a, b in figures),
        "rounds": figures,
    }


def generation_benchmarks(rounds: int) -> dict[str, dict[str, Any]]:
    """Tokens per second of one stream, of 16 questions and of 16 translations, ours and plain."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    chat = pipeline("dialogue", model=MODEL)
    translate = pipeline("translation", model=MODEL)
    engine = chat.engine
    folder = engine.source.arguments()["pretrained_model_name_or_path"]  # type: ignore[attr-defined]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")

    def calls(messages: list[list[dict[str, str]]], limit: int) -> list[Call]:
        options = GenerationOptions(max_new_tokens=limit, temperature=0.0)
        return [Call(each, options, shared=len(each) - 1) for each in messages]

    def ours(batch: list[Call]) -> float:
        started = time.perf_counter()
        if len(batch) == 1:
            completions = [item for item in engine.stream(batch[0]) if isinstance(item, Completion)]
        else:
            completions = engine.batch(batch)
        return sum(each.completion_tokens for each in completions) / (time.perf_counter() - started)

    def plain(batch: list[Call]) -> float:
        texts = [tokenizer.apply_chat_template(c.messages, add_generation_prompt=True, tokenize=False) for c in batch]
        started = time.perf_counter()
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        limit = batch[0].options.max_new_tokens
        output = model.generate(**inputs, max_new_tokens=limit, do_sample=False)[:, inputs["input_ids"].shape[1] :]
        seconds = time.perf_counter() - started
        # Tokens up to and with the one that ends each reply; what generate pads finished rows with does not count.
        ends = output == tokenizer.eos_token_id
        lengths = torch.where(ends.any(1), ends.int().argmax(1) + 1, output.shape[1])
        return int(lengths.sum()) / seconds

    def translation_messages(text: str) -> list[dict[str, str]]:
        request = TASKS["translation"].request_type(text=text, source="en", target="fr")
        return translate.task.messages(request, translate.wording()[1])

    workloads = {
        "single stream, 128 tokens": calls([[{"role": "user", "content": STORY}]], 128),
        "batch of 16 questions": calls([[{"role": "user", "content": text}] for text in QUESTIONS], 64),
        "batch of 16 translations": calls([translation_messages(text) for text in SENTENCES], 64),
    }
    return {
        name: paired(lambda batch=batch: ours(batch), lambda batch=batch: plain(batch), rounds)  # type: ignore[misc]
        for name, batch in workloads.items()
    }


def help_cpu_seconds(rounds: int) -> float:
    """CPU seconds of ``cinquain --help``: user and system, median."""
    figures = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "apps.cli", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        figures.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(figures)


def page_ready_seconds() -> float:
    """Seconds from ``cinquain ui`` to a page that answers and a model that is loaded."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    command = [sys.executable, "-m", "apps.cli", "ui", "--model", MODEL, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - started < 120:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                    if page.status == 200:
                        return time.perf_counter() - started
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("the page did not answer within 120 s")
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["generation", "start"], help="measure one part")
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    result: dict[str, Any] = {"schema_version": 1}
    if arguments.only != "generation":
        result["help_cpu_s"] = help_cpu_seconds(arguments.rounds)
        result["page_ready_s"] = page_ready_seconds()
    if arguments.only != "start":
        result["generation"] = generation_benchmarks(arguments.rounds)
        print(f"{'':28}{'ours':>10}{'plain':>10}{'ratio':>8}")
        for name, figures in result["generation"].items():
            print(f"{name:28}{figures['ours']:10.1f}{figures['plain']:10.1f}{figures['ratio']:8.2f}   tokens/s")
    for name, unit in (("help_cpu_s", "s of CPU"), ("page_ready_s", "s")):
        if name in result:
            print(f"{name:28}{result[name]:10.2f}   {unit}")
    import torch
    import transformers

    from pipelines.engines.device import choose_device

    result["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": load_before,
        "dtype": choose_device().label,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
