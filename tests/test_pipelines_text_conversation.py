"""Conversation files: what is exported comes back exactly, and nothing else gets in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import InputError
from pipelines.text.conversation import SCHEMA_VERSION, Turn, check_order, export_conversation, import_conversation

CONTENTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.lists(
        st.sampled_from(["## User", "\\## User", "\n", "## Assistant\r", " ", "x", "## System", "\r\n", "\u2028"]),
        min_size=1,
    ).map("".join),
).filter(str.strip)


@st.composite
def conversations(draw):
    roles = ["user", "assistant"] * 3
    turns = [{"role": role, "content": draw(CONTENTS)} for role in roles[: draw(st.integers(0, 6))]]
    if draw(st.booleans()):
        turns.insert(0, {"role": "system", "content": draw(CONTENTS)})
    return turns


@given(conversations(), st.sampled_from(["json", "markdown"]))
def test_what_is_exported_comes_back(turns, form):
    assert import_conversation(export_conversation(turns, form)) == turns


def test_markdown_is_readable():
    turns = [Turn(role="user", content="Hi"), Turn(role="assistant", content="Hello.")]
    text = export_conversation(turns, "markdown")
    assert text == "<!-- cinquain conversation, version 1 -->\n\n## User\n\nHi\n\n## Assistant\n\nHello.\n"


def test_a_file_saved_on_windows():
    turns = [{"role": "user", "content": "One\nTwo"}, {"role": "assistant", "content": "Three"}]
    for form in ("json", "markdown"):
        assert import_conversation("\ufeff" + export_conversation(turns, form).replace("\n", "\r\n")) == turns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        "{}",
        '{"messages": []}',
        "[" * 100_000,
        '{"schema_version": 1',
        "<!-- x -->",
        "null",
        "\0",
    ],
    ids=lambda text: text[:20],
)
def test_other_files_are_refused(text):
    with pytest.raises(InputError) as caught:
        import_conversation(text)
    assert caught.value.code == "conversation_format"


def test_text_before_the_first_turn_is_refused():
    with pytest.raises(InputError) as caught:
        import_conversation("<!-- cinquain conversation, version 1 -->\n\nlost words\n\n## User\n\nHi\n")
    assert caught.value.code == "conversation_format"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"schema_version": 99, "messages": []}, "conversation_version"),
        ({"schema_version": "1", "messages": []}, "conversation_version"),
        ({"schema_version": 1, "messages": {}}, "conversation_turn"),
        ({"schema_version": 1, "messages": [{"role": "tool", "content": "x"}]}, "conversation_turn"),
        ({"schema_version": 1, "messages": [{"role": "user", "content": 3}]}, "conversation_turn"),
        ({"schema_version": 1, "messages": [{"role": "user", "content": "x", "run": "y"}]}, "conversation_turn"),
        ({"schema_version": 1, "messages": [{"role": "user", "content": "  "}]}, "text_empty"),
        ({"schema_version": 1, "messages": [{"role": "user", "content": "\ud800"}]}, "text_not_unicode"),
        ({"schema_version": 1, "messages": [{"role": "assistant", "content": "x"}]}, "dialogue_order"),
    ],
)
def test_hostile_json_is_refused_with_its_reason(content, code):
    with pytest.raises(InputError) as caught:
        import_conversation(json.dumps(content))
    assert caught.value.code == code
    assert str(caught.value)


def test_a_file_beyond_the_limit_is_refused():
    with pytest.raises(InputError) as caught:
        import_conversation("x" * 5_000_000)
    assert caught.value.code == "text_too_large"


@given(st.text(max_size=300), st.booleans())
def test_no_text_breaks_the_import(text, headed):
    head = f"<!-- cinquain conversation, version {SCHEMA_VERSION} -->\n" if headed else ""
    try:
        turns = import_conversation(head + text)
    except InputError:
        return
    assert import_conversation(export_conversation(turns)) == turns


def test_an_unknown_format_is_refused():
    with pytest.raises(InputError, match="format must be one of"):
        export_conversation([], "pdf")


def test_the_order_of_turns():
    user, assistant, system = (Turn(role=role, content="x") for role in ("user", "assistant", "system"))
    check_order([system, user, assistant, user])
    for turns, position in (([assistant], 1), ([user, user], 2), ([user, system], 2), ([system, system], 2)):
        with pytest.raises(InputError) as caught:
            check_order(turns)
        assert caught.value.parameters["position"] == position
