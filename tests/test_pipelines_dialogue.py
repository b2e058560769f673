"""Dialogue: the window over a long conversation, role leaks, rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import InputError, Pipeline, load_prompt
from pipelines.engines.scripted import ScriptedEngine
from pipelines.tasks.dialogue import Dialogue, DialogueRequest

TASK = Dialogue()


def talk(reply="Hello.", **engine):
    return Pipeline(TASK, ScriptedEngine([reply], **engine), load_prompt("dialogue"))


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def request(text="Hi", **fields):
    return DialogueRequest(messages=(user(text),), **fields)


def long_conversation(exchanges, words=20):
    turns = []
    for number in range(exchanges):
        turns += [user(f"question {number} " + "word " * words), assistant(f"answer {number} " + "word " * words)]
    return [*turns, user("And now?")]


def test_an_answer():
    result = talk()(messages=[user("Hi")])
    assert result.text == "Hello."
    assert result.notes == []


def test_a_persona_is_worded_by_the_prompt_and_a_system_message_is_verbatim():
    prompt = load_prompt("dialogue")
    by_persona = TASK.messages(request(persona="a pirate"), prompt)
    assert by_persona[0]["role"] == "system"
    assert "a pirate" in by_persona[0]["content"]
    assert by_persona[0]["content"] != "a pirate"
    assert TASK.messages(request(system=" Be brief. "), prompt)[0]["content"] == " Be brief. "
    first = {"role": "system", "content": "As given."}
    assert TASK.messages(DialogueRequest(messages=(first, user("Hi"))), prompt) == [first, user("Hi")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"messages": []}, "field_invalid"),
        ({"messages": [user("a"), assistant("b")]}, "dialogue_last_turn"),
        ({"messages": [{"role": "system", "content": "a"}]}, "dialogue_last_turn"),
        ({"messages": [user("a"), user("b")]}, "dialogue_order"),
        ({"messages": [assistant("a"), user("b")]}, "dialogue_order"),
        ({"messages": [user("  ")]}, "text_empty"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "field_choice"),
        ({"messages": [user("a")], "system": "s", "persona": "p"}, "dialogue_two_systems"),
        ({"messages": [{"role": "system", "content": "s"}, user("a")], "system": "s"}, "dialogue_two_systems"),
    ],
)
def test_wrong_conversations_are_refused(fields, code):
    with pytest.raises(InputError) as caught:
        talk()(**fields)
    assert caught.value.code == code
    assert str(caught.value)


def test_a_short_conversation_is_sent_whole():
    pipeline = talk()
    pipeline(messages=long_conversation(3))
    (call,) = pipeline.engine.calls
    assert len(call.messages) == 8  # with the system message
    assert len(call.request.messages) == 7


def test_the_oldest_exchanges_go_first_and_are_accounted_for():
    turns = long_conversation(30)
    pipeline = talk(context_length=600)
    result = pipeline(messages=turns, system="Rules.", max_new_tokens=100)
    (call,) = pipeline.engine.calls
    kept = call.messages[1:]
    (note,) = result.notes
    assert call.messages[0]["content"] == "Rules."
    assert kept == turns[-len(kept) :]
    assert kept[0]["role"] == "user"
    assert note.code == "turns_dropped"
    assert note.parameters["count"] + len(kept) == len(turns)
    assert note.parameters["characters"] == sum(len(turn["content"]) for turn in turns[: note.parameters["count"]])
    assert (note.parameters["first"], note.parameters["last"]) == (1, note.parameters["count"])
    # The reply has its room, and one exchange more would have taken it.
    assert 600 - pipeline.engine.count_prompt(call.messages) >= 100
    more = turns[note.parameters["count"] - 2 :]
    assert 600 - pipeline.engine.count_prompt([call.messages[0], *more]) < 100


def test_a_reply_that_may_fill_the_context_still_sees_the_conversation():
    pipeline = talk(context_length=600)
    pipeline(messages=long_conversation(3), max_new_tokens=600)
    assert len(pipeline.engine.calls[0].messages) == 8


def test_the_last_turn_is_never_cut():
    pipeline = talk(context_length=200)
    with pytest.raises(InputError) as caught:
        pipeline(messages=[*long_conversation(2)[:-1], user("word " * 300)])
    assert caught.value.code == "prompt_too_long"
    assert pipeline.engine.calls == []


@pytest.mark.parametrize(
    ("reply", "text", "begin"),
    [
        ("Fine.\nUser: And you?\nAssistant: Me too.", "Fine.", "User: And you?"),
        ("Fine.\n\n**Human:** Why?", "Fine.", "**Human:** Why?"),
        ("Fine.<|im_end|>\n<|im_start|>user\nWhy?", "Fine.", "<|im_end|>"),
        ("好的。\n用户：谢谢", "好的。", "用户：谢谢"),
    ],
)
def test_another_speakers_turn_is_cut_and_noted(reply, text, begin):
    result = talk(reply)(messages=[user("How are you?")])
    (note,) = result.notes
    assert result.text == text
    assert note.code == "role_leak"
    assert note.parameters["begin"] == begin


@pytest.mark.parametrize(
    "reply",
    [
        "Each User: one account.",
        "Use this:\n```yaml\nUser: ann\n```\nThat is all.",
        "User: a person who uses something.",
        "a < b <| c",
    ],
)
def test_what_only_looks_like_a_leak_stays(reply):
    result = talk(reply)(messages=[user("Explain.")])
    assert (result.text, result.notes) == (reply, [])


def test_what_the_user_mentions_is_no_leak():
    reply = "A play:\nUser: Hi.\n<|im_end|> is a mark."
    assert talk(reply)(messages=[user("Write a play with a user, and explain <|im_end|>")]).text == reply


@pytest.mark.parametrize("opener", ["Assistant: ", "<|im_start|>assistant\n", "助手："])
def test_a_label_before_the_reply_goes(opener):
    assert talk(f"{opener}Good day.")(messages=[user("Hi")]).text == "Good day."


def test_an_empty_reply_is_said():
    result = talk("<|im_start|>user\nHi")(messages=[user("Hi")])
    assert result.text == ""
    assert [note.code for note in result.notes] == ["role_leak", "dialogue_empty_reply"]


PIECES = [
    "\n", " ", "User", ":", "**", "Assistant", "<|im_", "start|>", "<|im_end|>", "assistant", "```", "x", "用户",
    "：", "[",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.data())
def test_what_was_shown_of_a_growing_reply_stays(reply, data):
    shown = ""
    for end in sorted(data.draw(st.lists(st.integers(0, len(reply)), max_size=6))):
        text = TASK.parse(reply[:end], request(), complete=False)
        assert text.startswith(shown)
        shown = text
    assert TASK.parse(reply, request()).startswith(shown)


def test_a_stream_shows_what_the_result_holds():
    stream = talk("Well, fine.\nUser: Bye").stream(messages=[user("Hi")])
    assert "".join(stream) == stream.generation.text == "Well, fine."


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [user("a"), assistant("b")]},
        {"turns": [user("a"), assistant("b")], "prompt": "topic", "id": 3},
        {"turns": [user("a"), assistant("b"), user("unanswered")]},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"prompt": "a", "response": "b"},
    ],
)
def test_rows(row):
    made, reply = TASK.from_row(row)
    assert [turn.model_dump() for turn in made.messages] == [user("a")]
    assert reply == "b"


def test_a_row_may_bring_its_system_message():
    made, _ = TASK.from_row({"prompt": "a", "response": "b", "system": "s"})
    assert made.system == "s"


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"question": "a"}, "row_columns"),
        ({"messages": "a"}, "row_columns"),
        ({"messages": [user("a")]}, "dialogue_row_without_reply"),
        ({"messages": []}, "dialogue_row_without_reply"),
        ({"conversations": [{"from": "tool", "value": "a"}, {"from": "gpt", "value": "b"}]}, "field_choice"),
        ({"prompt": "a", "response": ""}, "text_empty"),
        ({"prompt": None, "response": "b"}, "field_invalid"),
    ],
)
def test_rows_that_cannot_be_used_say_why(row, code):
    with pytest.raises(InputError) as caught:
        TASK.from_row(row)
    assert caught.value.code == code
    assert str(caught.value)
