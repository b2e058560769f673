"""Code in replies: fences, prose around code, syntax."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.code import Block, chosen_block, code_blocks, fenced, python_in_prose, syntax_problem

PIECES = st.sampled_from(
    [
        "```",
        "````",
        "~~~",
        "``",
        "`",
        "\n",
        "\n",
        "python",
        "bash",
        " ",
        "    ",
        "x = 1",
        "def f():",
        "é",
        "1. ",
        "\r\n",
        "\t",
    ]
)
REPLIES = st.lists(PIECES, max_size=25).map("".join)


def test_the_code_inside_a_fence():
    assert code_blocks("Sure:\n```python\nx = 1\n```\nDone.") == [Block("python", "x = 1", True)]


@pytest.mark.parametrize(
    ("info", "language"),
    [
        ("", ""),
        ("Python", "python"),
        ("python title=a.py", "python"),
        ("{.python}", "python"),
        ("c++", "c++"),
        (" py ", "py"),
    ],
)
def test_any_info_string(info, language):
    assert code_blocks(f"```{info}\nx\n```")[0].language == language


def test_tildes_and_an_unclosed_fence():
    assert code_blocks("~~~\na\n```\nb\n~~~~\n") == [Block("", "a\n```\nb", True)]
    assert code_blocks("```py\nx = 1\n\n") == [Block("py", "x = 1", False)]


def test_a_fence_inside_a_docstring_does_not_close_the_block():
    code = 'def f():\n    """Use it:\n\n    ```\n    f()\n    ```\n    """'
    assert code_blocks(f"```python\n{code}\n```")[0].code == code


def test_a_block_below_a_list_item_loses_its_indentation():
    assert code_blocks("1. So:\n   ```python\n   if x:\n       y\n   ```")[0].code == "if x:\n    y"


def test_inline_code_with_three_backticks_is_no_fence():
    assert code_blocks("Use ```x``` or\n```x```\nhere.") == []


def test_the_first_block_of_the_language_answers():
    blocks = code_blocks("```bash\npip install x\n```\n```python\n\n```\n```py\nimport x\n```\n```python\ny\n```")
    assert chosen_block(blocks, "python").code == "import x"
    assert chosen_block(blocks, "rust").code == "pip install x"
    assert chosen_block(blocks, "rust", complete=False) is None
    assert chosen_block([], "python") is None


@given(REPLIES, st.integers(0, 200), st.sampled_from(["python", "bash", "go"]))
def test_what_was_shown_of_a_growing_block_stays(reply, cut, language):
    def shown(text, complete):
        block = chosen_block(code_blocks(text, complete=complete), language, complete=complete)
        return block.code if block else ""

    part = shown(reply[:cut], False)
    assert shown(reply, False).startswith(part)
    assert shown(reply, True).startswith(part)


@given(st.text(st.sampled_from("ab `~\n    x=1"), max_size=60))
def test_fenced_code_is_found_again(code):
    lines = code.split("\n")
    filled = [index for index, line in enumerate(lines) if line.strip()]
    trimmed = "\n".join(lines[filled[0] : filled[-1] + 1]) if filled else ""
    assert code_blocks(fenced(code, "python"))[0] == Block("python", trimmed, True)


def test_python_without_a_fence():
    code = "import re\n\ndef f(x):\n    return re.escape(x)"
    assert python_in_prose(code) == code
    assert python_in_prose(f"Here is the function.\n\n{code}\n\nThis function escapes its input.") == code
    assert python_in_prose("Sorry, I cannot do that.") is None
    assert python_in_prose("Hello") is None
    assert python_in_prose("") is None


def test_python_in_prose_gives_up_on_a_hostile_reply():
    assert python_in_prose("x = (\n" * 3000) is None


@pytest.mark.parametrize("code", ["x = 1", "", "'\\d'", "async def f():\n    await g()"])
def test_code_that_parses(code):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert syntax_problem(code) is None


def test_a_syntax_error_has_its_line():
    assert syntax_problem("x = 1\ny = = 2\n") == (2, "invalid syntax")


@pytest.mark.parametrize(
    "code",
    [
        "-" * 100_000 + "1",
        "1" + "+1" * 50_000,
        "a" + ".a" * 50_000,
        "lambda:" * 14_000 + "1",
        "(" * 100_000,
        "if 1:\n a\n" + "elif 1:\n a\n" * 8_000,
        "a\0b",
        "9" * 50_000,
        "x" * 1_000_000,
    ],
    ids=lambda code: code[:8],
)
def test_hostile_code_is_a_problem_and_not_a_crash(code):
    line, message = syntax_problem(code)
    assert line >= 1
    assert message
