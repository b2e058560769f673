"""The benchmark that ships: every row is a sound request, its own kind, and its reference is right."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import eval.benchmarks
import finetune.data
from eval.benchmarks import Benchmark, BenchmarkRow, load_benchmark, rows_hash, suite
from eval.metrics import named, self_test
from finetune.data.overlap import overlap_filter
from finetune.data.row import Row
from pipelines.tasks import TASKS
from pipelines.text.facts import unsupported
from pipelines.text.languages import close_languages, detect
from pipelines.text.personal import find
from pipelines.text.protect import missing
from pipelines.text.split import blocks, sentences
from pipelines.text.verse import check_form
from tests.doubles.data_rows import lines_of

FOLDER = Path(eval.benchmarks.__file__).parent / "smoke"
SHIPPED = Path(finetune.data.__file__).parent / "shipped"
LENGTHS = {"sentence": (1, 1), "short": (2, 3), "paragraph": (4, 7), "bullets": (2, 6)}

each_benchmark = pytest.mark.parametrize("name", suite("smoke"))


def rows(task: str) -> Iterator[tuple[BenchmarkRow, str]]:
    """Each row of a task with each of its references."""
    for row in load_benchmark(f"smoke-{task.replace('_', '-')}").rows:
        for reference in row.references:
            yield row, reference


def texts(benchmark: Benchmark) -> Iterator[str]:
    for row in benchmark.rows:
        yield from Row(row.id, row.request, "", "", "").texts(benchmark.task)
        yield from row.references


def surely(text: str) -> str | None:
    found = detect(text) if len(text.encode()) >= 40 else None
    return found[0] if found and found[1] >= 0.95 else None


def sentences_of(text: str, language: str) -> list[str]:
    return [
        sentence.of(text).strip()
        for block in blocks(text)
        if block.kind == "text"
        for sentence in sentences(text, block, language)
    ]


def test_every_task_has_one_in_the_order_of_the_tasks() -> None:
    assert [load_benchmark(name).task for name in suite("smoke")] == list(TASKS)


@each_benchmark
def test_twenty_four_rows_no_two_of_a_kind(name: str) -> None:
    benchmark = load_benchmark(name)
    assert len(benchmark.rows) == len({row.kind for row in benchmark.rows}) == 24
    assert "" not in {row.kind for row in benchmark.rows}
    openings = Counter(next(Row("", row.request, "", "", "").texts(benchmark.task))[:10] for row in benchmark.rows)
    assert max(openings.values()) <= 4
    spoken = Counter(surely(text) for text in texts(benchmark))
    assert min(spoken["en"], spoken["zh"]) >= 5


@each_benchmark
def test_rows_are_requests_without_defaults_and_have_references(name: str) -> None:
    benchmark = load_benchmark(name)
    for record, row in zip(lines_of(FOLDER / f"{name}.jsonl"), benchmark.rows, strict=True):
        request = TASKS[benchmark.task].request_type.model_validate(record["request"])
        assert request.model_dump(mode="json", exclude_defaults=True) == record["request"] == row.request
        assert (record["id"], record["language"], record["kind"]) == (row.id, row.language, row.kind)
        assert row.references
        assert all(text == text.strip() != "" for text in row.references)
    assert max(sum(map(len, row.references)) for row in benchmark.rows) < 900
    assert max(len(text) for text in texts(benchmark)) < 900


@each_benchmark
def test_rows_hold_no_personal_data(name: str) -> None:
    found = [
        text[start:end]
        for text in texts(load_benchmark(name))
        for start, end, _ in find(text, ("en", "zh", "fr", "de", "es"))
    ]
    assert found == []


@each_benchmark
def test_rows_share_no_thirteen_words_with_the_training_rows_that_ship(name: str) -> None:
    task = load_benchmark(name).task
    step = overlap_filter([str(FOLDER / f"{name}.jsonl")], task)
    training = [
        Row(str(place), row["request"], row["reply"], "", "")
        for place, row in enumerate(lines_of(SHIPPED / f"{task}.jsonl"))
    ]
    dropped = [outcome.details for row in training if (outcome := step(row)).reason]
    assert dropped == []
    (own, *_) = lines_of(FOLDER / f"{name}.jsonl")
    assert step(Row("", own["request"], own["references"][0], "", "")).reason == "benchmark"


def test_translations_keep_what_must_survive() -> None:
    for row, reference in rows("translation"):
        text, terms = row.request["text"], row.request.get("glossary", {})
        assert missing(text, reference) == []
        assert text.count("\n") == reference.count("\n")
        assert all(term.casefold() in text.casefold() and terms[term] in reference for term in terms)
        assert row.language == row.request["target"]
        assert close_languages(surely(reference) or row.language, row.language), reference


def test_summaries_say_what_their_texts_say_at_the_length_that_was_asked_for() -> None:
    for row, reference in rows("summarization"):
        text = row.request["text"]
        spoken = surely(text) or "?"
        assert surely(reference) == row.language == row.request.get("language", spoken)
        foreign = unsupported(reference, text, row.language)
        assert not foreign.numbers, reference
        assert spoken != row.language or not foreign.names, (reference, foreign)
        assert not [sentence for sentence in sentences_of(reference, row.language) if sentence in text], reference
        length = row.request.get("length", "short")
        parts = reference.splitlines() if length == "bullets" else sentences_of(reference, row.language)
        least, most = LENGTHS[length]
        assert least <= len(parts) <= most, reference
        assert all(line.startswith("- ") for line in parts) == (length == "bullets"), reference
        assert "language" in row.request or len(reference) <= 0.62 * len(text), reference


def test_replies_hold_the_words_that_a_right_reply_needs() -> None:
    for task in ("dialogue", "creative_writing"):
        needed = [(row, text, word) for row, text in rows(task) for word in row.facts.get("keywords", ())]
        assert len(needed) >= 8
        for row, text, word in needed:
            assert word.casefold() in text.casefold(), row


def test_dialogues_are_answered_in_their_language() -> None:
    for row, reference in rows("dialogue"):
        assert close_languages(surely(reference) or row.language, row.language), reference


def test_creative_texts_have_their_form_and_ask_for_their_keywords() -> None:
    forms: Counter[str] = Counter()
    for row, reference in rows("creative_writing"):
        request = row.request
        form = request.get("form", "free")
        forms[form] += 1
        whole = f"{request['text']}\n{reference}" if request.get("mode") == "continue" else reference
        facts = check_form(whole, form, row.language, request.get("length"))
        assert all(fact.ok for fact in facts), (reference, facts)
        assert bool(re.search("[\u4e00-\u9fff]", reference)) == (row.language == "zh")
    assert set(forms) == {"free", "poem", "haiku", "story", "script", "song", "letter", "email"}


def test_programs_pass_their_tests_and_wrong_ones_do_not() -> None:
    for row, reference in rows("code_generation"):
        names = {node.name for node in ast.parse(reference).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert row.facts["entry_point"] in names
        exec(f"{reference}\n{row.facts['tests']}", {})  # our own code
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever a function that gives nothing breaks
            exec(f"def {row.facts['entry_point']}(*a, **k): return None\n{row.facts['tests']}", {})
        if "tests" in row.request:
            exec(f"{reference}\n{row.request['tests']}", {})


@each_benchmark
def test_references_score_the_best_that_there_is(name: str) -> None:
    benchmark = load_benchmark(name)
    notes = [note for metric in benchmark.metrics for note in self_test(named(metric), benchmark.rows)]
    assert not [note for note in notes if note.code in ("metric_gold", "metric_silent")]


@each_benchmark
def test_the_card_says_what_is_in_it(name: str) -> None:
    card = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    benchmark = load_benchmark(name)
    (line,) = re.findall(rf"(?m)^- \*\*{name}\*\*:? (.*)$", card)
    counts = Counter(row.language.split("-")[0] for row in benchmark.rows)
    assert {code: int(count) for code, count in re.findall(r"\b([a-z]{2}) (\d+)", line)} == counts
    assert benchmark.licence == "Apache-2.0"


def test_nothing_changes_unnoticed() -> None:
    # Whoever changes a row raises the version of its file: scores of two versions are never compared.
    found = {name: (load_benchmark(name).version, rows_hash(load_benchmark(name).rows)[:12]) for name in suite("smoke")}
    assert found == {
        "smoke-translation": (1, "8b48362cb3a7"),
        "smoke-summarization": (1, "4168f5719278"),
        "smoke-dialogue": (1, "07029b615dd3"),
        "smoke-code-generation": (2, "db9466dad9c5"),
        "smoke-creative-writing": (1, "78da8c8ecfc6"),
    }
