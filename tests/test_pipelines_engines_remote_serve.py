"""The remote engine on a real server: ``transformers serve`` with the embedded model, on this machine."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import TASKS, pipeline
from tests.doubles.serving import serving

pytestmark = pytest.mark.model

REQUESTS: dict[str, dict[str, Any]] = {
    "translation": {"text": "Good morning.", "target": "fr"},
    "summarization": {"text": "The town library closes for three weeks in July. Workers repair the roof."},
    "dialogue": {"messages": [{"role": "user", "content": "What is the capital of France?"}]},
    "code_generation": {"instruction": "Add two numbers."},
    "creative_writing": {"brief": "A train at night", "form": "haiku"},
}


@pytest.fixture(scope="module")
def reference(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Reference of the embedded model on a server that runs while this file's tests do."""
    with serving(embedded_model, tmp_path_factory.mktemp("serve") / "log.txt") as found:
        yield found


def on(reference: str, task: str, **options: Any) -> Any:
    return pipeline(task, reference, context_length=2048, **options)


@pytest.mark.parametrize("task", TASKS)
def test_the_five_tasks(reference: str, task: str) -> None:
    generation = on(reference, task)(**REQUESTS[task], max_new_tokens=24, temperature=0)
    assert generation.text.strip()
    assert generation.usage.prompt_tokens > 10
    assert generation.usage.completion_tokens > 0
    assert "remote_usage_estimated" not in [note.code for note in generation.notes]
    assert generation.provenance["engine"]["engine"] == "remote"


def test_it_streams_and_stops_by_itself(reference: str) -> None:
    stream = on(reference, "dialogue").stream(**REQUESTS["dialogue"], temperature=0)
    pieces = list(stream)
    assert len(pieces) > 3
    assert "".join(pieces) == stream.generation.text == "The capital of France is Paris."
    assert stream.generation.finish_reason == "stop"


def test_the_limit_and_a_stop_string_hold(reference: str) -> None:
    chat = on(reference, "dialogue")
    short = chat(**REQUESTS["dialogue"], temperature=0, max_new_tokens=3)
    assert (short.text, short.finish_reason) == ("The capital of", "length")
    stopped = chat(**REQUESTS["dialogue"], temperature=0, stop=["France"])
    assert (stopped.text, stopped.finish_reason) == ("The capital of", "stop")


def test_a_batch_answers_each_question(reference: str) -> None:
    chat = on(reference, "dialogue", concurrency=3)
    countries = {"France": "Paris", "Japan": "Tokyo", "Italy": "Rome", "Germany": "Berlin"}
    questions = [[{"role": "user", "content": f"What is the capital of {country}?"}] for country in countries]
    answers = chat.batch([{"messages": question} for question in questions], temperature=0, max_new_tokens=12)
    assert [city in answer.text for city, answer in zip(countries.values(), answers, strict=True)] == [True] * 4


def test_cancel_frees_the_server(reference: str) -> None:
    cancel = threading.Event()
    story = on(reference, "dialogue").stream(
        messages=[{"role": "user", "content": "Write a very long story."}], max_new_tokens=1500, cancel=cancel
    )
    assert next(story)
    cancel.set()
    assert len(list(story)) < 100
    assert story.generation.finish_reason == "cancelled"
    # 1500 tokens take over a minute here: an answer within ten seconds comes from a server that has stopped writing.
    generation = on(reference, "dialogue")(**REQUESTS["dialogue"], temperature=0, max_new_tokens=3, deadline_s=10)
    assert generation.finish_reason == "length"


def test_the_command_line(reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from apps.cli.main import main

    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text("".join(json.dumps(REQUESTS["dialogue"]) + "\n" for _ in range(2)))
    line = ["run", "dialogue", "--model", reference, "--temperature", "0"]
    assert main([*line, "--input", str(rows), "--output", str(out)]) == 0
    assert [json.loads(row)["text"] for row in out.read_text().splitlines()] == ["The capital of France is Paris."] * 2
    assert main([*line, "What is the capital of France?"]) == 0
    assert capsys.readouterr().out == "The capital of France is Paris.\n"
