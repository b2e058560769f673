"""Code generation: code out of replies, signatures, checks, repair, rows."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import InputError, Pipeline, load_prompt
from pipelines.engines.scripted import ScriptedEngine
from pipelines.tasks.code_generation import CodeGeneration, CodeRequest

TASK = CodeGeneration()
GOOD = "```python\ndef f():\n    return 1\n```"
BROKEN = "```python\ndef f(:\n    return 1\n```"
SIGNATURE = 'from math import pi\n\n\ndef area(radius: float) -> float:\n    """Area of a circle."""'


def coder(*replies, check=None, **engine):
    return Pipeline(CodeGeneration(check), ScriptedEngine(list(replies), **engine), load_prompt("code_generation"))


def codes(result):
    return [note.code for note in result.notes]


def parse(reply, **fields):
    return TASK.parse(reply, CodeRequest(**{"instruction": "x", **fields}))


def test_the_code_of_the_reply_and_nothing_else():
    result = coder(f"Sure! Here it is:\n\n{GOOD}\n\nIt returns one.")(instruction="one")
    assert (result.text, result.notes) == ("def f():\n    return 1", [])


def test_it_streams_line_by_line_without_fences():
    stream = coder(f"Sure!\n{GOOD}\nDone.").stream(instruction="one")
    pieces = list(stream)
    assert len(pieces) > 3
    assert "".join(pieces) == stream.generation.text == "def f():\n    return 1"


def test_further_blocks_are_noted():
    result = coder(f"```bash\npip install x\n```\n{GOOD}\n```python\nf()\n```")(instruction="one")
    assert result.text == "def f():\n    return 1"
    assert result.notes[0].parameters == {"count": 2}


def test_a_reply_without_a_fence():
    assert parse("Here:\n\ndef f():\n    return 1\n\nThat is all.") == "def f():\n    return 1"
    result = coder("I cannot do that.")(instruction="one")
    assert result.text == "I cannot do that."
    assert codes(result) == ["no_code_found", "syntax_error"]


def test_another_language():
    reply = "```js\nlet x = 1;\n```"
    pipeline = coder(reply)
    assert pipeline(instruction="one", language=" JavaScript ").text == "let x = 1;"
    assert pipeline.engine.calls[0].request.language == "javascript"
    assert codes(coder("let x = 1;")(instruction="one", language="javascript")) == ["no_code_found"]


def test_broken_python_is_noted_with_its_line():
    (note,) = coder(BROKEN)(instruction="one").notes
    assert note.code == "syntax_error"
    assert note.parameters["line"] == 1


def test_an_empty_reply_is_noted():
    assert codes(coder("")(instruction="one")) == ["no_code_found"]


@pytest.mark.parametrize(
    "reply",
    [
        "```python\n    return pi * radius**2\n```",
        "```python\nreturn pi * radius**2\n```",
        "    return pi * radius**2",
        f"```python\n{SIGNATURE}\n    return pi * radius**2\n```",
    ],
)
def test_a_body_is_joined_to_its_signature(reply):
    assert parse(reply, signature=SIGNATURE) == f"{SIGNATURE}\n    return pi * radius**2"


def test_a_whole_function_gets_the_imports_of_the_signature():
    code = "def area(radius: float) -> float:\n    return pi * radius**2"
    assert parse(f"```python\n{code}\n```", signature=SIGNATURE) == f"from math import pi\n\n\n{code}"


def test_a_function_of_another_name_and_code_that_defines_it_later_stay():
    for code in ("def circle(r):\n    return r", "TWO = 2\n\n\ndef area(radius):\n    return TWO"):
        assert parse(f"```python\n{code}\n```", signature=SIGNATURE) == code


def test_a_signature_without_a_colon():
    assert parse("```\n    return a\n```", signature="def same(a)") == "def same(a):\n    return a"


PIECES = [
    "```",
    "\n",
    "\n",
    "python",
    "    ",
    "def area(",
    "def ",
    "r):",
    "return 1",
    "# c",
    "import x",
    "x = 1",
    "~~~",
    "é",
]


@given(
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    st.sampled_from([None, SIGNATURE, "# c\ndef area(r):"]),
    st.data(),
)
def test_what_was_shown_of_a_growing_reply_stays(reply, signature, data):
    request = CodeRequest(instruction="x", signature=signature)
    shown = ""
    for end in sorted(data.draw(st.lists(st.integers(0, len(reply)), max_size=6))):
        text = TASK.parse(reply[:end], request, complete=False)
        assert text.startswith(shown)
        shown = text
    assert TASK.parse(reply, request).startswith(shown)


def test_repair_gives_the_failure_back_and_shows_only_what_passed():
    pipeline = coder(BROKEN, GOOD)
    stream = pipeline.stream(instruction="one", repair=2)
    assert list(stream) == ["def f():\n    return 1"]
    assert [(note.code, note.parameters) for note in stream.generation.notes] == [("repaired", {"rounds": 1})]
    first, second = pipeline.engine.calls
    assert second.messages[: len(first.messages)] == first.messages
    assert "def f(:" in second.messages[-2]["content"]
    assert "Line 1" in second.messages[-1]["content"]


def test_repair_does_nothing_to_good_code():
    pipeline = coder(GOOD)
    assert pipeline(instruction="one", repair=5).notes == []
    assert len(pipeline.engine.calls) == 1


def test_repair_gives_up_and_says_so():
    pipeline = coder(BROKEN)
    result = pipeline(instruction="one", repair=3, temperature=0.5, seed=7)
    assert len(pipeline.engine.calls) == 4
    assert [call.options.seed for call in pipeline.engine.calls] == [7, 8, 9, 10]
    assert codes(result) == ["syntax_error", "repair_failed"]
    assert result.text.startswith("def f(:")


def test_a_check_sees_the_code_and_its_words_go_to_the_model():
    seen = []

    def check(code, request):
        seen.append((code, request.tests))
        return None if "return 2" in code else "expected 2, got 1"

    pipeline = coder(GOOD, GOOD.replace("1", "2"), check=check)
    result = pipeline(instruction="two", tests="assert f() == 2", repair=1)
    assert result.text.endswith("return 2")
    assert [tests for _, tests in seen] == ["assert f() == 2"] * 2
    assert "expected 2, got 1" in pipeline.engine.calls[1].messages[-1]["content"]
    assert "assert f() == 2" in pipeline.engine.calls[0].messages[-1]["content"]


def test_a_check_without_repair_only_notes():
    result = coder(GOOD, check=lambda code, request: "no")(instruction="one")
    assert (codes(result), result.text) == (["check_failed"], "def f():\n    return 1")


def test_code_that_parses_is_preferred_when_all_rounds_fail():
    result = coder(GOOD, BROKEN, check=lambda code, request: "no")(instruction="one", repair=1)
    assert (result.text, codes(result)) == ("def f():\n    return 1", ["check_failed", "repair_failed"])


def test_a_language_that_cannot_be_checked_is_not_repaired():
    pipeline = coder("```go\nx\n```")
    assert codes(pipeline(instruction="one", language="go", repair=2)) == ["code_not_checked"]


def test_stopping_a_repair_leaves_the_code_so_far():
    cancel = threading.Event()
    calls = []

    def reply(call):
        calls.append(call)
        if len(calls) == 2:
            cancel.set()
        return BROKEN

    stream = Pipeline(TASK, ScriptedEngine(reply), load_prompt("code_generation")).stream(
        instruction="one", repair=3, cancel=cancel
    )
    assert "".join(stream) == stream.generation.text
    assert stream.generation.text.startswith("def f(:")
    assert stream.generation.finish_reason == "cancelled"
    assert codes(stream.generation) == ["repair_interrupted", "reply_cancelled"]


def test_a_repair_that_has_no_room_ends_with_what_there_is():
    engine = ScriptedEngine([BROKEN.replace("1", "1 + " * 40)])
    prompt = load_prompt("code_generation")
    messages = TASK.messages(CodeRequest(instruction="one", repair=3), prompt)
    engine.context_length = engine.count_prompt(messages) + 120
    result = Pipeline(TASK, engine, prompt)(instruction="one", repair=3)
    assert len(engine.calls) == 1
    assert codes(result) == ["syntax_error", "repair_failed"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "field_missing"),
        ({"instruction": " "}, "text_empty"),
        ({"instruction": "x", "repair": 6}, "field_invalid"),
        ({"instruction": "x", "language": "py;thon"}, "field_invalid"),
        ({"instruction": "x", "code": "y"}, "field_unknown"),
    ],
)
def test_wrong_requests_are_refused(fields, code):
    with pytest.raises(InputError) as caught:
        coder(GOOD)(**fields)
    assert caught.value.code == code
    assert str(caught.value)


def test_a_signature_needs_no_instruction():
    assert coder("```\n    return 1.0\n```")(signature=SIGNATURE).notes == []


def test_a_row_of_signature_and_body_teaches_the_whole_function():
    request, reply = TASK.from_row({"prompt": SIGNATURE, "response": "\n    return pi * radius**2\n", "module": "m"})
    assert (request.signature, request.instruction) == (SIGNATURE, None)
    assert reply == f"```python\n{SIGNATURE}\n    return pi * radius**2\n```"
    assert TASK.parse(reply, request) == f"{SIGNATURE}\n    return pi * radius**2"


@pytest.mark.parametrize("answer", ["response", "output", "code"])
def test_a_row_of_instruction_and_code(answer):
    request, reply = TASK.from_row({"instruction": "one", answer: "x = 1\n", "language": "python"})
    assert (request.instruction, reply) == ("one", "```python\nx = 1\n```")


def test_a_row_whose_reply_has_a_fence_keeps_it():
    assert TASK.from_row({"prompt": "one", "response": f"So:\n{GOOD}"})[1] == f"So:\n{GOOD}"


@pytest.mark.parametrize(
    ("row", "code"), [({"text": "a"}, "row_columns"), ({"prompt": "a", "response": " \n"}, "text_empty")]
)
def test_rows_that_cannot_be_used_say_why(row, code):
    with pytest.raises(InputError) as caught:
        TASK.from_row(row)
    assert caught.value.code == code
