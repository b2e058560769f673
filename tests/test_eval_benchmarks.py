"""Benchmarks by name and file: what a person may write, which rows are taken, and what is said when it cannot be."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import eval.benchmarks
from eval.benchmarks import load_benchmark, names, suite
from eval.benchmarks.schema import read_benchmark_file
from finetune.data import DataConfig, Source, Split
from finetune.data.prepare import prepare
from pipelines.errors import InputError
from pipelines.tasks import TASKS
from tests.doubles.benchmark_files import refused, written
from tests.doubles.data_rows import counting_model, lines_of, plain_rows, write_lines

FOLDER = Path(eval.benchmarks.__file__).parent
PAIRS = [
    {"text": "Guten Abend, liebe Nachbarn.", "source": "de", "target": "en", "reply": "Good evening, dear neighbours."},
    {"text": "Bis morgen!", "source": "de", "target": "en", "references": ["See you tomorrow!", "Until tomorrow!"]},
]


def test_names_and_suites() -> None:
    assert [name for each in ("smoke", "standard", "hub") for name in suite(each)] == list(names())
    assert len(set(names())) == len(names()) >= 18
    for each in ("smoke", "standard"):
        assert [read_benchmark_file(FOLDER / each / f"{name}.yaml").task for name in suite(each)] == list(TASKS)
    with pytest.raises(InputError, match="standard"):
        suite("standart")


def test_every_definition_says_what_a_person_should_know() -> None:
    for path in FOLDER.rglob("*.yaml"):
        definition = read_benchmark_file(path)
        assert definition.name == path.stem
        assert all(len(text) > 2 for text in (definition.licence, definition.origin, definition.remarks)), path
        assert definition.max_new_tokens


def test_a_version_may_be_asked_for() -> None:
    assert load_benchmark("smoke-dialogue@1").sha256 == load_benchmark("smoke-dialogue").sha256
    assert refused("smoke-dialogue@7").parameters == {"name": "smoke-dialogue", "wanted": "7", "version": 1}
    error = refused("smoke-dialog")
    assert (error.code, error.parameters["nearest"].split(", ")[0]) == ("benchmark_unknown", "smoke-dialogue")


def test_one_line_of_yaml_makes_a_benchmark(tmp_path: Path) -> None:
    benchmark = load_benchmark(written(tmp_path, "{task: translation, rows: rows.jsonl}", PAIRS))
    assert (benchmark.name, benchmark.version, benchmark.task) == ("mine", 1, "translation")
    assert benchmark.metrics == TASKS["translation"].metrics
    assert [row.id for row in benchmark.rows] == ["1", "2"]
    assert benchmark.rows[0].request == {"text": PAIRS[0]["text"], "source": "de", "target": "en"}
    assert [row.references for row in benchmark.rows] == [
        ("Good evening, dear neighbours.",),
        tuple(PAIRS[1]["references"]),
    ]
    again = load_benchmark(written(tmp_path, "task: translation\nrows: rows.jsonl\nremarks: none\n", PAIRS))
    assert again.sha256 == benchmark.sha256
    raised = load_benchmark(written(tmp_path, "task: translation\nrows: rows.jsonl\nversion: 2\n", PAIRS))
    assert raised.sha256 != benchmark.sha256


def test_a_file_of_rows_is_enough_where_the_task_is_said(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "my rows.jsonl", PAIRS)
    assert refused(str(path)).code == "benchmark_task_unsaid"
    path = write_lines(tmp_path / "mine.jsonl", PAIRS)
    assert "rows: mine.jsonl" in str(refused(str(path)))
    assert len(load_benchmark(str(path), task="translation").rows) == 2
    write_lines(path, [{"task": "translation", **PAIRS[0]}])
    assert load_benchmark(str(path)).task == "translation"
    assert refused(str(tmp_path / "no.jsonl")).code == "benchmark_rows_missing"
    assert refused(str(tmp_path / "no.jsonl"), task="translation").code == "benchmark_rows_missing"


HI = [{"role": "user", "content": "Hi"}]
SHAPES: list[tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    ("translation", {"translation": {"de": "Hallo Welt", "en": "Hello world"}}, {"target": "en"}, ("Hello world",)),
    ("translation", {"source": "Hi", "target": "Salut", "tgt_lang": "fr"}, {"text": "Hi"}, ("Salut",)),
    ("translation", {"request": {"text": "Hi", "target": "no"}, "reply": "Hei"}, {"target": "no"}, ("Hei",)),
    ("summarization", {"article": "A long text.", "highlights": "Short."}, {"text": "A long text."}, ("Short.",)),
    ("summarization", {"text": "A text.", "length": "bullets", "reply": "- One."}, {"length": "bullets"}, ("- One.",)),
    ("dialogue", {"prompt": "Hi", "response": "Hello!"}, {"messages": HI}, ("Hello!",)),
    ("dialogue", {"messages": HI}, {"messages": HI}, ()),
    ("code_generation", {"instruction": "1", "reply": "```python\none = 1\n```"}, {"instruction": "1"}, ("one = 1",)),
    ("code_generation", {"prompt": "def f():\n", "response": "  1"}, {"signature": "def f():\n"}, ("def f():\n  1",)),
    ("creative_writing", {"brief": "Rain.", "form": "haiku"}, {"brief": "Rain.", "form": "haiku"}, ()),
    ("creative_writing", {"brief": "Rain.", "text": "It rains."}, {"brief": "Rain."}, ("It rains.",)),
]  # fmt: skip


@pytest.mark.parametrize(("task", "record", "fields", "references"), SHAPES)
def test_shapes_of_rows(
    task: str, record: dict[str, Any], fields: dict[str, Any], references: Any, tmp_path: Path
) -> None:
    (row,) = load_benchmark(written(tmp_path, f"{{task: {task}, rows: rows.jsonl}}", [record])).rows
    assert row.request | fields == row.request
    assert row.references == references


def test_columns_and_values_map_what_is_named_otherwise(tmp_path: Path) -> None:
    text = (
        "task: code_generation\nrows: rows.jsonl\nvalues: {language: python}\n"
        "columns: {instruction: meta.ask, reply: answer, id: [meta.set, n], kind: meta.set,\n"
        "  facts.tests: [head, checks]}\n"
    )
    record = {
        "meta": {"ask": "One.", "set": "a"},
        "n": 7,
        "answer": "x = 1",
        "head": "y = 1",
        "checks": ["assert x", "assert y"],
    }
    (row,) = load_benchmark(written(tmp_path, text, [record])).rows
    assert (row.id, row.kind, row.references) == ("a/7", "a", ("x = 1",))
    assert row.facts == {"tests": "y = 1\nassert x\nassert y"}
    error = refused(written(tmp_path, text, [{**record, "meta": {"set": "a"}}]))
    assert error.code == "benchmark_row"
    assert "meta.ask" in str(error)


def test_tests_of_a_request_are_facts_and_languages_are_found(tmp_path: Path) -> None:
    rows = [{"instruction": "One.", "tests": "assert x == 1", "reply": "x = 1"}]
    (row,) = load_benchmark(written(tmp_path, "{task: code_generation, rows: rows.jsonl}", rows)).rows
    assert row.facts == {"tests": "assert x == 1"}
    chinese = {"text": "今天下午三点，全体住户在院子里开会，讨论停车的事情。", "summary": "住户今天下午开会讨论停车。"}
    (row,) = load_benchmark(written(tmp_path, "{task: summarization, rows: rows.jsonl}", [chinese])).rows
    assert row.language == "zh"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("{task: translation, rows: rows.jsonl, mteric: chrf}", "benchmark_key_unknown", "metrics"),
        ("{rows: rows.jsonl}", "benchmark_key_missing", "task"),
        ("{task: translation}", "benchmark_key_missing", "rows"),
        ("{task: tanslation, rows: rows.jsonl}", "task_unknown", "translation"),
        ("{task: translation, rows: rows.jsonl, version: 0}", "benchmark_value", "version"),
        ("{task: translation, rows: rows.jsonl, held_out: 0.1}", "benchmark_value", "group"),
        ("{task: translation, rows: rows.jsonl, values: {tarket: en}}", "field_unknown", "target"),
        ("{task: translation, rows: rows.jsonl, columns: {texts: a}}", "field_unknown", "text"),
        ("{task: translation, rows: rows.jsonl, metrics: [chrf, bleuu]}", "metric_unknown", "bleu"),
        ("{task: translation, rows: nothing.jsonl}", "benchmark_rows_missing", "nothing.jsonl"),
        ("{task: [translation", "benchmark_unreadable", "YAML"),
        ("just words", "benchmark_unreadable", "keys"),
        ("{task: translation, rows: rows.jsonl, where: {source: fr}}", "benchmark_empty", "where"),
        ("{task: translation, rows: rows.jsonl, columns: {id: source}}", "benchmark_row_twice", "'de'"),
        (f"{{task: translation, rows: rows.jsonl, rows_sha256: {'0' * 64}}}", "benchmark_other_rows", "rows.jsonl"),
        ("{task: dialogue, rows: rows.jsonl}", "benchmark_row", "Row 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_one_sentence(text: str, code: str, words: str, tmp_path: Path) -> None:
    error = refused(written(tmp_path, text, PAIRS))
    assert error.code == code
    assert words in str(error)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{broken", "no JSON"),
        (b"[1, 2]", "list"),
        (b'{"text": "Hallo", "target": "en", "formalty": "formal", "reply": "Hi"}', "formality"),
        (b'{"text": " ", "target": "en", "reply": "Hi"}', "empty"),
        (b'{"text": "Hallo", "target": "en", "references": [""]}', "references"),
        (b'{"text": "Hallo", "target": "xx-none", "reply": "Hi"}', "xx-none"),
        (b"[" * 100_000, "no JSON"),
        (b'"\xff"', "utf-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_row_is_one_sentence(line: bytes, words: str, tmp_path: Path) -> None:
    error = refused(written(tmp_path, "{task: translation, rows: rows.jsonl}", [PAIRS[0], line]))
    assert words in str(error)
    assert error.code == "benchmark_unreadable" or error.parameters["row"] in (2, "2")


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    assert refused(str(tmp_path / "no.yaml")).code == "benchmark_unreadable"
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert refused(str(tmp_path / "bytes.yaml")).code == "benchmark_unreadable"


@given(st.randoms(), st.integers(1, 12))
def test_the_rows_that_a_limit_takes_depend_on_no_order(draw: random.Random, limit: int) -> None:
    from eval.benchmarks.loading import _chosen
    from eval.benchmarks.schema import parse_benchmark

    definition = parse_benchmark({"name": "a", "task": "summarization", "rows": "x", "limit": limit}, "a")
    rows = plain_rows(10)
    mixed = draw.sample(rows, len(rows))

    def chosen(every: list[dict[str, Any]]) -> list[str]:
        taken = _chosen(((str(number), row) for number, row in enumerate(every)), definition)
        assert [int(place) for place, _ in taken] == sorted(int(place) for place, _ in taken)
        return sorted(json.dumps(row) for _, row in taken)

    assert chosen(mixed) == chosen(rows)
    assert len(chosen(rows)) == min(limit, 10)


def test_what_is_held_out_is_the_test_part_of_prepared_data(tmp_path: Path) -> None:
    rows = [{**row, "doc": f"page {number // 3}"} for number, row in enumerate(plain_rows(90))]
    text = "{task: summarization, rows: rows.jsonl, group: doc, held_out: 0.3}"
    taken = load_benchmark(written(tmp_path, text, rows)).rows
    model = counting_model(tmp_path / "model")
    source = Source(path=str(tmp_path / "rows.jsonl"))
    config = DataConfig(task="summarization", sources=[source], model=str(model), split=Split(test=0.3, validation=0.0))
    prepare(config, tmp_path / "out")
    test = [row["request"]["text"] for row in lines_of(tmp_path / "out" / "test.jsonl")]
    assert sorted(row.request["text"] for row in taken) == sorted(test)
    assert 0 < len(test) < 90


def test_rows_that_are_too_long_or_empty_are_not_taken(tmp_path: Path) -> None:
    rows = [{"text": "a " * 40, "summary": "b"}, {"text": " ", "summary": "b"}, {"text": "short", "summary": "b"}]
    (row,) = load_benchmark(written(tmp_path, "{task: summarization, rows: rows.jsonl, longest: 20}", rows)).rows
    assert (row.id, row.request) == ("3", {"text": "short"})
