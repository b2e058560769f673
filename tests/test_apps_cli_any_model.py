"""The same five commands on every kind of model: a text-to-text folder, a GGUF file, an adapter, a server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apps.cli.main import main
from tests.doubles.tiny import tiny_chat_model
from tests.doubles.tiny_adapters import tiny_adapter, turned
from tests.doubles.tiny_gguf import write_tiny_gguf
from tests.doubles.tiny_seq2seq import tiny_flan
from tests.test_pipelines_engines_remote_serve import reference as served  # noqa: F401 - a fixture

FIVE = {
    "translation": ["Good morning.", "--set", "target=fr"],
    "summarization": ["The library closes for three weeks in July. Workers repair the roof and the windows."],
    "dialogue": ["What is the capital of France?"],
    "code_generation": ["Add two numbers."],
    "creative_writing": ["A train at night", "--set", "form=haiku", "--seed", "7"],
}


def answers(model: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """What the five commands print as JSON with a model."""
    found = {}
    for task, words in FIVE.items():
        assert main(["run", task, *words, *model, "--max-new-tokens", "24", "--json"]) == 0
        found[task] = json.loads(capsys.readouterr().out)
        assert found[task]["task"] == task
        assert found[task]["usage"]["prompt_tokens"] > 0
        assert found[task]["finish_reason"] in ("stop", "length")
    return found


def flan(folder: Path) -> list[str]:
    return ["--model", str(tiny_flan(folder / "flan")), "--engine", "input_limit=2048"]


def gguf(folder: Path) -> list[str]:
    return ["--model", str(write_tiny_gguf(folder / "tiny.gguf", context=4096))]


def adapted(folder: Path) -> list[str]:
    base = tiny_chat_model(folder / "base")
    return ["--model", str(base), "--adapter", str(tiny_adapter(base, folder / "adapter", turned(1)))]


@pytest.mark.parametrize("kind", [flan, gguf, adapted])
def test_the_five_commands(
    kind: Callable[[Path], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = kind(tmp_path)
    capsys.readouterr()
    for result in answers(model, capsys).values():
        engine = result["provenance"]["engine"]
        assert engine["model"] == model[1]
        assert bool(engine["adapter"]) == (kind is adapted)


@pytest.mark.model
def test_the_five_commands_on_a_server(served: str, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    found = answers(["--model", served], capsys)
    assert all(result["text"].strip() for result in found.values())
    assert found["dialogue"]["provenance"]["engine"]["engine"] == "remote"
