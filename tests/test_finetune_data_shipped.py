"""The training sets that ship: rows are sound, the card says what they are, and preparation keeps all of them."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import finetune.data
from finetune.data import DataConfig, Row, Source
from finetune.data.prepare import prepare
from pipelines.tasks import TASKS
from pipelines.text.facts import unsupported
from pipelines.text.languages import close_languages, detect
from pipelines.text.personal import find
from pipelines.text.protect import missing
from pipelines.text.split import blocks, sentences
from tests.doubles.data_rows import counting_model, lines_of

SHIPPED = Path(finetune.data.__file__).parent / "shipped"
SETS = sorted(SHIPPED.glob("*.jsonl"))
LENGTHS = {"sentence": (1, 1), "short": (2, 3), "paragraph": (4, 7), "bullets": (3, 6)}
SURE, LONG_ENOUGH = 0.95, 40

each_set = pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return counting_model(tmp_path_factory.mktemp("model"))


def rows_of(path: Path) -> list[Row]:
    return [Row(f"{place}", row["request"], row["reply"], "", "") for place, row in enumerate(lines_of(path), 1)]


def surely(text: str) -> str | None:
    found = detect(text) if len(text.encode()) >= LONG_ENOUGH else None
    return found[0] if found and found[1] >= SURE else None


def sentences_of(text: str, language: str) -> list[str]:
    return [
        sentence.of(text).strip()
        for block in blocks(text)
        if block.kind == "text"
        for sentence in sentences(text, block, language)
    ]


def section(path: Path) -> str:
    """What the card says of a set."""
    found = re.search(rf"(?ms)^## {re.escape(path.name)}$(.*?)(?=^## |\Z)", (SHIPPED / "README.md").read_text("utf-8"))
    assert found, f"the card has no section for {path.name}"
    return found[1]


def point(path: Path, name: str) -> str:
    """One point of the section, on one line."""
    found = re.search(rf"(?ms)^- \*\*{name}:\*\* (.*?)(?=^- |^$|\Z)", section(path))
    assert found, f"the card does not say of {path.name}: {name}"
    return " ".join(found[1].split())


def counts(text: str) -> dict[str, int]:
    return {name.strip(): int(count) for name, count in re.findall(r"([^,;]+?) (\d+)(?=[,;.]|$)", text)}


def test_every_task_has_a_set() -> None:
    assert [path.stem for path in SETS] == sorted(TASKS)


@each_set
def test_rows_are_requests_without_defaults_and_their_replies(path: Path) -> None:
    for place, row in enumerate(lines_of(path), 1):
        assert set(row) - {"group"} == {"kind", "request", "reply"}
        assert row["reply"] == row["reply"].strip() != ""
        request = TASKS[path.stem].request_type.model_validate(row["request"])
        assert request.model_dump(mode="json", exclude_defaults=True) == row["request"], place


@each_set
def test_a_set_is_small_and_speaks_english_and_chinese(path: Path) -> None:
    rows = rows_of(path)
    assert 60 <= len(rows) <= 200
    languages = Counter(surely(text) for row in rows for text in row.texts(path.stem))
    assert min(languages["en"], languages["zh"]) >= 10


@each_set
def test_rows_are_not_made_from_a_template(path: Path) -> None:
    openings = Counter(next(row.texts(path.stem))[:12].casefold() for row in rows_of(path))
    assert max(openings.values()) <= 5, openings.most_common(3)


@each_set
def test_rows_hold_no_personal_data(path: Path) -> None:
    found = [
        text[start:end]
        for row in rows_of(path)
        for text in row.texts(path.stem)
        for start, end, _ in find(text, ("en", "zh", "fr", "de", "es"))
    ]
    assert found == []


@each_set
def test_the_card_says_what_is_in_the_set(path: Path) -> None:
    rows = lines_of(path)
    assert int(point(path, "Rows")) == len(rows)
    assert counts(point(path, "Kinds")) == Counter(row["kind"] for row in rows)
    assert sum(counts(point(path, "Languages")).values()) == len(rows)
    assert point(path, "Licence") == "Apache-2.0"
    assert all(len(point(path, name)) > 60 for name in ("Purpose", "How it was written", "Limits"))


def prepared(path: Path, model: str, out: Path, **more: Any) -> None:
    """Prepare a set and see that nothing was dropped, split or changed."""
    ledger = prepare(DataConfig(task=path.stem, sources=[Source(path=str(path))], model=model, **more), out)
    assert ledger.problems() == []
    assert ledger.dropped() == {}, [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()][:3]
    assert all(not step.changes for step in ledger.steps.values())
    assert ledger.read == ledger.kept == len(lines_of(path))


@each_set
def test_preparation_keeps_every_row_as_it_is(path: Path, model: Path, tmp_path: Path) -> None:
    prepared(path, str(model), tmp_path / "out", max_tokens=1_000_000)


@pytest.mark.model
@each_set
def test_rows_fit_the_embedded_model(path: Path, tmp_path: Path) -> None:
    prepared(path, "smollm2-135m", tmp_path / "out", max_tokens=1024)


def test_translations_keep_what_must_survive() -> None:
    for row in rows_of(SHIPPED / "translation.jsonl"):
        text, terms = row.request["text"], row.request.get("glossary", {})
        assert missing(text, row.reply) == [], text
        assert text.count("\n") == row.reply.count("\n"), text
        assert all(term.casefold() in text.casefold() for term in terms), text
        assert all(wanted.casefold() in row.reply.casefold() for wanted in terms.values()), text


def test_translations_are_in_their_languages() -> None:
    for row in rows_of(SHIPPED / "translation.jsonl"):
        sides = [(row.reply, row.request["target"])]
        if "source" in row.request:
            sides.append((row.request["text"], row.request["source"]))
        for text, language in sides:
            assert close_languages(surely(text) or language, language), text


def test_summaries_say_what_their_texts_say() -> None:
    for row in rows_of(SHIPPED / "summarization.jsonl"):
        text = row.request["text"]
        spoken, written = surely(text), surely(row.reply)
        assert spoken
        assert written
        assert written == row.request.get("language", spoken).split("-")[0], row.reply
        foreign = unsupported(row.reply, text, written)
        assert not foreign.numbers, row.reply
        assert spoken != written or not foreign.names, row.reply
        assert not [sentence for sentence in sentences_of(row.reply, written) if sentence in text], row.reply


def test_summaries_have_the_length_that_was_asked_for() -> None:
    for row in rows_of(SHIPPED / "summarization.jsonl"):
        length = row.request.get("length", "short")
        lines = row.reply.splitlines()
        parts = lines if length == "bullets" else sentences_of(row.reply, surely(row.reply) or "en")
        least, most = LENGTHS[length]
        assert least <= len(parts) <= most, row.reply
        assert all(line.startswith("- ") for line in lines) == (length == "bullets"), row.reply
        if "language" not in row.request:
            assert len(row.reply) <= 0.6 * len(row.request["text"]), row.reply


def test_dialogues_are_answered_in_the_language_of_the_question() -> None:
    for row in rows_of(SHIPPED / "dialogue.jsonl"):
        if "system" not in row.request:  # that may ask for another one
            asked = surely(row.request["messages"][-1]["content"])
            assert close_languages(surely(row.reply) or "en", asked or surely(row.reply) or "en"), row.reply
