"""Rows of the shapes that data sets have become requests and replies; what is none says what was expected and found."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data import Source
from finetune.data.prepare import prepare
from finetune.data.records import Record
from finetune.data.row import Outcome
from finetune.data.shapes import check_columns, recognise
from finetune.data.text_encoding import GUESSED
from pipelines.errors import InputError
from pipelines.tasks import TASKS
from pipelines.wording import sentences
from tests.doubles.data_rows import configured, counting_model, lines_of, plain_rows, write_lines

EN, FR = "Good morning to all of you", "Bonjour à vous tous"
USER, ASSISTANT = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}
HI_HO = ({"messages": [USER]}, "ho")
PAIR = ({"text": EN, "source": "en", "target": "fr"}, FR)


def outcome(task: str, data: dict[str, Any], **source: Any) -> Outcome:
    return recognise(Record("rows:1", data), Source(path="rows.jsonl", **source), task)


def found(task: str, data: dict[str, Any], **source: Any) -> tuple[dict[str, Any], str]:
    (row,) = outcome(task, data, **source).rows
    return row.request, row.reply


@pytest.mark.parametrize(
    "data",
    [
        {"text": EN, "source": "en", "target": "fr", "reply": FR},
        {"request": {"text": EN, "source": "en", "target": "fr"}, "reply": FR, "kind": "travel"},
        {"source": EN, "target": FR, "src_lang": "en", "tgt_lang": "fr", "doc": "a"},
        {"source": EN, "target": FR, "source_lang": "English", "target_language": "French"},
        {"src": EN, "tgt": FR, "src_lang": "en", "lang": "fr"},
        {"text": EN, "translation": FR, "source": "en", "target": "fr"},
        {"translation": {"en": EN, "fr": FR}},
        {"id": "12", "no": "7", "en": EN, "fr": FR, "domain": "greetings"},
    ],
)
def test_translations(data: dict[str, Any]) -> None:
    assert found("translation", data) == PAIR
    assert outcome("translation", data).changes == ()


def test_languages_that_were_named_choose_the_texts() -> None:
    back = ({"text": FR, "source": "fr", "target": "en"}, EN)
    three = {"translation": {"en": EN, "de": "Guten Morgen", "fr": FR}}
    for data in ({"en": EN, "fr": FR}, three, {"fr_FR": FR, "en": EN, "de": "Guten Morgen"}):
        assert found("translation", data, values={"source": "fr", "target": "en"}) == back
    assert found("translation", {"en": EN, "fr": FR}, values={"target": "en"}) == back
    assert found("translation", {"instruction": "Translate.", "input": EN, "output": FR}, values={"target": "fr"}) == (
        {"text": EN, "target": "fr"},
        FR,
    )
    # A text must never be taken for one in a language that it is not in.
    for data in (three, {"en": EN, "fr": FR}, {"translation": {"en": EN, "fr": FR}}):
        assert outcome("translation", data, values={"target": "es"}).reason == "columns"
    assert outcome("translation", three).reason == "columns"


def test_a_language_that_was_only_detected_is_said() -> None:
    detected = outcome("translation", {"source": EN, "target": FR})
    assert (detected.rows[0].request["target"], detected.changes) == ("fr", ("target_detected",))
    assert outcome("translation", {"source": EN, "target": FR}, values={"target": "fr"}).changes == ()
    assert outcome("translation", {"source": EN, "target": "?!"}).reason == "columns"


@pytest.mark.parametrize(
    "data",
    [
        {"messages": [USER, ASSISTANT]},
        {"turns": [USER, ASSISTANT], "prompt": "What is new?"},
        {"messages": json.dumps([USER, ASSISTANT])},
        {
            "messages": [
                {"role": "human", "content": [{"type": "text", "text": "hi"}]},
                {"role": "model", "content": "ho"},
            ]
        },
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]},
        {"conversation": [USER, ASSISTANT]},
        {"prompt": [USER], "completion": [ASSISTANT]},
        {"prompt": "hi", "response": "ho"},
        {"instruction": "hi", "input": "", "output": "ho"},
        {"question": "hi", "answer": "ho"},
        {"messages": [USER], "reply": "ho"},
    ],
)
def test_chats(data: dict[str, Any]) -> None:
    assert found("dialogue", data) == HI_HO
    assert outcome("dialogue", data).changes == ()


def test_chats_with_more_to_say() -> None:
    turns = [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]
    system = {"role": "system", "content": "Be kind."}
    unanswered = outcome("dialogue", {"conversations": [*turns, {"from": "human", "value": "bye"}]})
    assert (unanswered.rows[0].request, unanswered.changes) == ({"messages": [system, USER]}, ("unanswered_turn",))
    assert found("dialogue", {"prompt": "hi", "response": "ho", "system": "Be kind."})[0]["system"] == "Be kind."
    assert outcome("dialogue", {"messages": [USER, {"role": "tool", "content": "x"}, ASSISTANT]}).reason == "invalid"
    assert outcome("dialogue", {"messages": [USER, {**ASSISTANT, "content": [{"type": "image"}]}]}).reason == "invalid"


def test_the_other_tasks() -> None:
    text = {"text": "A long text."}
    for data in (
        {"document": "A long text.", "summary": "Short.", "id": "7"},
        {"article": "A long text.", "highlights": "Short."},
        {"source": "A long text.", "target": "Short.", "package": "p"},
        {"prompt": "A long text.", "completion": "Short."},
        {"instruction": "Summarize.", "input": "A long text.", "output": "Short."},
        {"messages": [{"role": "user", "content": "A long text."}, {"role": "assistant", "content": "Short."}]},
    ):
        assert found("summarization", data) == (text, "Short.")
    code = "def add(a, b):\n    return a + b"
    for data in ({"instruction": "Add.", "output": code, "input": ""}, {"prompt": "Add.", "code": code}):
        assert found("code_generation", data) == ({"instruction": "Add."}, f"```python\n{code}\n```")
    own = {"instruction": "Add.", "signature": "def add(a, b):", "reply": code}
    assert found("code_generation", own) == ({name: own[name] for name in ("instruction", "signature")}, code)
    poem = {"prompt": "The sea", "response": "Waves.", "form": "五言绝句", "lang": "zh", "author": "x"}
    assert found("creative_writing", poem) == ({"brief": "The sea", "language": "zh"}, "Waves.")
    own = {"brief": "The sea", "form": "haiku", "tone": "calm", "reply": "Waves."}
    assert found("creative_writing", own)[0]["form"] == "haiku"
    assert found("creative_writing", {"question": "The sea", "answer": "Waves.", "tone": "calm"})[0]["tone"] == "calm"


def test_columns_map_whatever_there_is() -> None:
    data = {"ask": {"who": ["x", EN]}, "to": "fr", "a.b": FR, "nothing": None}
    columns = {"text": "ask.who.1", "target": "to", "reply": "a.b"}
    assert found("translation", data, columns=columns, values={"source": "en"}) == PAIR
    assert found("translation", data, columns={**columns, "formality": "nothing"})[0] == {"text": EN, "target": "fr"}
    nested = {"log": {"chat": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}}
    assert found("dialogue", nested, columns={"messages": "log.chat"}) == HI_HO
    nested["log"]["chat"].append({"from": "human", "value": "?"})
    assert outcome("dialogue", nested, columns={"messages": "log.chat"}).changes == ("unanswered_turn",)
    missing = outcome("translation", data, columns={**columns, "reply": "a.c", "text": "ask.who.2"})
    assert (missing.reason, missing.details) == (
        "columns",
        {"expected": ["ask.who.2", "a.c"], "found": ["ask", "to", "a.b", "nothing"]},
    )
    assert outcome("translation", data, columns={**columns, "reply": "nothing"}).reason == "reply_empty"


def test_columns_are_checked_before_anything_is_read() -> None:
    for columns, values, code in (
        ({"txt": "a", "reply": "b"}, {}, "data_field_unknown"),
        ({}, {"reply": "x"}, "data_field_unknown"),
        ({"text": "a"}, {"target": "fr"}, "data_field_unmapped"),
        ({"reply": "a"}, {"target": "fr"}, "data_field_unmapped"),
    ):
        with pytest.raises(InputError) as caught:
            check_columns(Source(path="x", columns=columns, values=values), "translation")
        assert caught.value.code == code
    check_columns(Source(path="x", columns={"messages": "log"}), "dialogue")
    check_columns(Source(path="x", values={"target": "fr"}), "translation")


def test_groups_are_documents_and_never_what_a_row_lacks() -> None:
    data = {"text": "A long text.", "summary": "Short."}

    def group(more: dict[str, Any], **source: Any) -> str:
        return outcome("summarization", {**data, **more}, **source).rows[0].group

    assert group({"doc_id": 7}) == "doc_id:7"
    assert group({}) == group({"doc": None}) == group({"document": "A long text."}) != group({"text": "Another."})
    assert group({"meta": {"page": "p"}}, group="meta.page") == "meta.page:p"
    assert outcome("summarization", data, group="page").details == {"expected": ["page"], "found": ["text", "summary"]}
    assert len(group({"doc": "d" * 10_000})) < 200
    assert group({"doc": "d" * 10_000}) != group({"doc": "d" * 10_001})


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just("a \ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["text", "source", "target", "translation", "messages", "conversations", "turns", "prompt", "completion",
     "response", "instruction", "input", "output", "reply", "request", "brief", "summary", "document", "code", "en",
     "fr", "tgt_lang", "lang", "role", "content", "from", "value", "group", "form", "length"]
)  # fmt: skip


@given(data=st.dictionaries(NAMES, VALUES, max_size=6), task=st.sampled_from(list(TASKS)))
def test_any_record_becomes_a_row_or_a_reason(data: dict[str, Any], task: str) -> None:
    result = outcome(task, data)
    assert bool(result.rows) != bool(result.reason)
    if result.rows:
        json.dumps(result.rows[0].__dict__, ensure_ascii=False, allow_nan=False).encode()
    else:
        json.dumps(dict(result.details))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return counting_model(tmp_path_factory.mktemp("model"))


def test_shapes_may_mix_in_one_file_and_what_is_none_is_listed(model: Path, tmp_path: Path) -> None:
    (a, b, c, d), other = plain_rows(4), {"headline": "x", "body": "y"}
    mixed = [
        a,
        {"article": b["text"], "highlights": b["summary"]},
        {"prompt": c["text"], "response": c["summary"]},
        other,
        {"text": d["text"], "reply": d["summary"]},
        {"text": d["text"], "summary": None},
    ]
    out = tmp_path / "out"
    ledger = prepare(configured(model, write_lines(tmp_path / "rows.jsonl", mixed), split={"validation": 0}), out)
    assert (ledger.kept, ledger.dropped()) == (4, {"recognise.columns": 2})
    assert [row["reply"] for row in lines_of(out / "train.jsonl")] == [row["summary"] for row in (a, b, c, d)]
    rejected = lines_of(out / "rejected.jsonl")
    assert [row["row"] for row in rejected] == [mixed[3], mixed[5]]
    assert rejected[0]["details"]["found"] == ["headline", "body"]


def test_an_encoding_that_was_guessed_stands_in_the_ledger(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    text = "text;summary\n" + "".join(f"{row['text']} Où est le café ?;{row['summary']}\n" for row in plain_rows(5))
    path.write_bytes(text.encode("cp1252"))
    ledger = prepare(configured(model, path, language=False), tmp_path / "out")
    assert (ledger.kept, ledger.steps["recognise"].changes) == (5, {"encoding_guessed": 5})
    assert "Où est le café ?" in (tmp_path / "out" / "train.jsonl").read_text(encoding="utf-8")


def test_a_column_that_is_nowhere_is_an_error_that_names_the_others(model: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", [{"body": "x", "abstract": "y"}] * 3)
    source = Source(path=str(path), columns={"text": "body", "reply": "abstrct"})
    with pytest.raises(InputError, match=r"abstrct.*'body', 'abstract'"):
        prepare(configured(model, source), tmp_path / "out")
    grouped = Source(path=str(path), columns={"text": "body", "reply": "abstract"}, group="page")
    with pytest.raises(InputError, match=r"page.*'body', 'abstract'"):
        prepare(configured(model, grouped), tmp_path / "out")


def test_every_reason_and_every_remark_is_explained() -> None:
    """On the ledger's page, which leaves out what has no words."""
    words: set[str] = set()
    for path in (Path(__file__).parent.parent / "finetune" / "data").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("drop", "change", "split", "Record"):
                texts = node.args[2:3] if ast.unparse(node.func) == "Record" else node.args
                words |= {
                    text.value for text in texts if isinstance(text, ast.Constant) and isinstance(text.value, str)
                }
    words |= {"not_unicode", "value", "too_deep", "key_twice", "unanswered_turn", "target_detected", GUESSED}
    assert len(words) > 20
    assert words - {code.removeprefix("data_means_") for code in sentences()} == set()
