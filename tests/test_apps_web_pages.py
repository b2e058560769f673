"""The pages' own functions: what a form becomes, what is shown of a result."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.web import chat, summarize, translate, write, write_code
from apps.web.answer import Moment, Page
from apps.web.common import settings_fields
from apps.web.session import Session, runs_code
from apps.web.strings import Strings, table
from pipelines.errors import InputError
from pipelines.generation import Generation
from pipelines.requests import split_options, validate
from pipelines.tasks import TASKS

FORMS: dict[str, dict[str, Any]] = {
    "translation": translate.request_fields("Hello", "auto", "fr", "formal", "cat = chat"),
    "summarization": summarize.request_fields("A long text.", "bullets", "costs", "en"),
    "dialogue": chat.request_fields([{"role": "user", "content": "Hi"}], "", "a pirate"),
    "code_generation": write_code.request_fields("Add.", "def add(a, b):", "assert add(1, 2) == 3", 2.0),
    "creative_writing": write.request_fields("snow", "haiku", "quiet", "short", "en", 2.0),
}
BARE: dict[str, dict[str, Any]] = {
    "translation": translate.request_fields("Hello", "auto", "fr", "default", None),
    "summarization": summarize.request_fields("A long text.", "short", None, ""),
    "dialogue": chat.request_fields([{"role": "user", "content": "Hi"}], None, " "),
    "code_generation": write_code.request_fields("Add.", "", None),
    "creative_writing": write.request_fields("snow", "poem", "", "short", None, 1),
}


@pytest.mark.parametrize("forms", [FORMS, BARE], ids=["filled", "bare"])
@pytest.mark.parametrize("task", TASKS)
def test_a_form_is_a_valid_request(task: str, forms: dict[str, dict[str, Any]]) -> None:
    request_type = TASKS[task].request_type
    fields, options = split_options(request_type, {**forms[task], **settings_fields(64.0, 0.5, 0.9, " 3 ")}, task)
    request = validate(request_type, fields, task)
    assert set(fields) <= set(request.model_fields_set)
    assert options.max_new_tokens == 64
    assert options.seed == 3


@pytest.mark.parametrize(
    ("task", "field", "offered"),
    [
        ("translation", "formality", ("default", "formal", "informal")),
        ("summarization", "length", summarize.LENGTHS),
        ("creative_writing", "form", write.FORMS),
        ("creative_writing", "length", write.LENGTHS),
    ],
)
def test_the_page_offers_every_choice_the_task_knows(task: str, field: str, offered: tuple[str, ...]) -> None:
    schema = TASKS[task].request_type.model_json_schema()["properties"][field]
    (known,) = [entry["enum"] for entry in [schema, *schema.get("anyOf", [])] if "enum" in entry]
    assert set(known) == set(offered)


def test_an_empty_seed_is_drawn_and_a_wrong_one_is_refused() -> None:
    assert "seed" not in settings_fields(64, 0.5, 0.9, " ")
    for wrong in ("-1", "1.5", "abc", "9" * 19):
        with pytest.raises(InputError) as caught:
            settings_fields(64, 0.5, 0.9, wrong)
        assert caught.value.code == "web_seed"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_examples_are_valid_requests(language: str) -> None:
    t = Strings(language)
    for text, target in t.rows("translate.examples"):
        validate(TASKS["translation"].request_type, {"text": text, "target": target}, "translation")
    for text, length in t.rows("summarize.examples"):
        validate(TASKS["summarization"].request_type, {"text": text, "length": length}, "summarization")
    for (text,) in t.rows("chat.examples"):
        validate(TASKS["dialogue"].request_type, TASKS["dialogue"]().fields_from_text(text), "dialogue")
    for text, signature in t.rows("write_code.examples"):
        fields = write_code.request_fields(text, signature, "")
        validate(TASKS["code_generation"].request_type, fields, "code_generation")
    for brief, form, written in t.rows("write.examples"):
        validate(
            TASKS["creative_writing"].request_type,
            {"brief": brief, "form": form, "language": written},
            "creative_writing",
        )


def test_the_embedded_model_says_on_every_page_where_it_is_weak() -> None:
    for name in ("translate", "summarize", "chat", "write_code", "write"):
        assert f"{name}.limits.smollm2-135m" in table()


def test_the_glossary_is_read_line_by_line() -> None:
    assert translate.parse_glossary("cat = chat\n\n  a = b = c \n") == {"cat": "chat", "a": "b = c"}
    assert translate.parse_glossary(None) == translate.parse_glossary("  \n") == {}
    for wrong in ("cat", "cat =", "= chat"):
        with pytest.raises(InputError) as caught:
            translate.parse_glossary(f"a = b\n{wrong}")
        assert "Line 2" in str(caught.value)


def test_versions_always_fill_every_box() -> None:
    generation = Generation("creative_writing", "m", "best", variants=["best", "second", "third"])
    assert write.versions(Moment("best", "", generation)) == ["best", "second", "third", ""]
    assert write.versions(Moment("be", "")) == ["be", "", "", ""]
    many = Generation("creative_writing", "m", "1", variants=list("123456"))
    assert write.versions(Moment("1", "", many)) == list("1234")


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_gradios_blocks_become_plain_turns() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "file", "file": {}}, {"type": "text", "text": "b"}]
    history = [{"role": "user", "content": blocks, "metadata": None}, {"role": "system", "content": "x"}]
    assert chat.turns(history) == [user("ab")]
    assert chat.turns(None) == []


def test_a_question_without_a_reply_goes_back_into_the_message_box() -> None:
    done = Generation("dialogue", "m", "", finish_reason="cancelled")
    assert chat.shown([user("Hi")], Moment("", "")) == ([user("Hi")], "")
    assert chat.shown([user("Hi")], Moment("", "", done)) == ([], "Hi")
    assert chat.shown([user("Hi")], Moment("Hel", "")) == ([user("Hi"), assistant("Hel")], "")
    answered = [user("Hi"), assistant("Hello")]
    assert chat.question_back(answered, "typed meanwhile") == (answered, "typed meanwhile")


def test_undo_takes_the_last_exchange_away() -> None:
    conversation = [user("1"), assistant("one"), user("2"), assistant("two")]
    assert chat.without_last_exchange(conversation) == (conversation[:2], "2")
    assert chat.without_last_exchange(conversation[:3]) == (conversation[:2], "2")
    assert chat.without_last_exchange([]) == ([], "")


texts = st.text(min_size=1).filter(lambda text: bool(text.strip()) and text.isprintable())


@given(st.lists(st.tuples(texts, texts), max_size=3), texts)
def test_a_saved_conversation_opens_again(exchanges: list[tuple[str, str]], system: str) -> None:
    conversation = [turn for question, reply in exchanges for turn in (user(question), assistant(reply))]
    saved = chat.export_file(conversation, f"Be {system}.", "").encode()
    assert chat.import_file(saved) == (conversation, "", f"Be {system}.", "")


def test_a_saved_persona_is_what_the_model_was_told() -> None:
    _, question, system, persona = chat.import_file(chat.export_file([user("Hi")], "", "a pirate").encode())
    assert "a pirate" in system
    assert (question, persona) == ("Hi", "")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"schema_version": 1, "messages": 3}', b"[" * 100_000])
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(InputError):
        chat.import_file(content)


@pytest.mark.sandbox
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_program_that_is_run_says_what_it_writes_and_how_it_ended(language: str) -> None:
    page = Page(Session("scripted", dict), Strings(language))  # type: ignore[arg-type]
    assert write_code.execute(page, "print('<b>42</b>')").startswith("<b>42</b>\n\n")
    assert "ZeroDivisionError" in write_code.execute(page, "1 / 0")
    for status in ("passed", "error", "timeout", "output", "died"):
        assert page.t(f"write_code.ended.{status}", seconds="1")


@pytest.mark.sandbox
def test_programs_are_never_run_on_a_public_space(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runs_code()
    monkeypatch.setenv("SPACE_ID", "someone/demo")
    assert not runs_code()
