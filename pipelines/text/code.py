"""Find the code in a model's reply and see whether it is Python. Nothing here runs code."""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Block", "chosen_block", "code_blocks", "fenced", "python_in_prose", "syntax_problem"]

MAX_CHECKED = 200_000
"""Characters of code that are parsed. A reply of 32,768 tokens stays under it; beyond it is no reply."""

MAX_SEARCHED = 20_000
"""Characters of a reply without fences that are searched for code: a hundred attempts take two seconds at most."""

_ALIASES = {
    "python": {"py", "python3", "py3", "python2", "ipython"},
    "javascript": {"js", "node", "jsx", "mjs"},
    "typescript": {"ts", "tsx"},
    "c++": {"cpp", "cxx", "cc"},
    "c#": {"csharp", "cs"},
    "bash": {"sh", "shell", "zsh"},
    "go": {"golang"},
    "rust": {"rs"},
    "ruby": {"rb"},
    "kotlin": {"kt"},
}
_OPENING = re.compile(r"([ \t]*)(`{3,}(?=[^`]*$)|~{3,})(.*)")
_INFO = re.compile(r"[\w+#]+")
_STATEMENT = re.compile(r"(?:def|class|import|from|async def|for|while|if|with|try|return)\b|@\w|[A-Za-z_]\w* *[=(]")


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        language: First word of the info string in lower case, or "".
        code: Its lines, without the blank ones around them; of a growing block, those that cannot change any more.
        closed: Its closing fence was seen.
    """

    language: str
    code: str
    closed: bool


def code_blocks(reply: str, *, complete: bool = True) -> list[Block]:
    """The fenced blocks of a reply, in order.

    Follows CommonMark (fences of backticks or tildes, closed by one at least as long, or by the end of the text),
    except that the opening fence may stand at any depth, as models write it below list items.
    """
    lines = reply.split("\n")
    partial = lines.pop() if not complete else None  # only whole lines can open or close a block
    blocks: list[Block] = []
    fence: tuple[int, str, str] | None = None
    body: list[str] = []
    for line in lines:
        if fence is None:
            if opening := _OPENING.fullmatch(line.rstrip("\r")):
                info = _INFO.search(opening[3])
                fence, body = (len(opening[1]), opening[2], info[0].lower() if info else ""), []
        elif _closes(line, fence):
            blocks.append(Block(fence[2], _trimmed(body), True))
            fence = None
        else:
            body.append(_dedented(line, fence[0]))
    if fence is not None:
        if partial is not None and set(partial.strip()) - {fence[1][0]}:
            body.append(_dedented(partial, fence[0]))
        blocks.append(Block(fence[2], _trimmed(body), False))
    return blocks


def chosen_block(blocks: list[Block], language: str, *, complete: bool = True) -> Block | None:
    """The block that answers: the first with code whose label is the language or missing, else the first with code.

    While the reply grows, a block with another label is not settled on: the right one may follow.
    """
    names = {"", language, *_ALIASES.get(language, ())}
    filled = [block for block in blocks if block.code]
    fitting = [block for block in filled if block.language in names]
    if fitting:
        return fitting[0]
    return filled[0] if filled and complete else None


def fenced(code: str, language: str) -> str:
    """Code as a model should write it: in a fence that is longer than any within."""
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    return f"{'`' * (longest + 1)}{language}\n{code}\n{'`' * (longest + 1)}"


def python_in_prose(reply: str) -> str | None:
    """Python code in a reply without fences: the reply without the prose before and after it, or None."""
    if len(reply) > MAX_SEARCHED:
        return None
    lines = reply.split("\n")
    starts = [index for index, line in enumerate(lines) if _STATEMENT.match(line) or line.startswith("#!")][:10]
    attempts = 0
    for start in starts:
        for end in _ends(lines, start):
            attempts += 1
            if attempts > 100:  # each attempt parses; a hostile reply must not make it thousands
                return None
            code = _trimmed(lines[start:end])
            if syntax_problem(code) is None and _does_something(code):
                return code
    return None


def syntax_problem(code: str) -> tuple[int, str] | None:
    """Where and why Python code does not parse: (line, message), or None where it does.

    Hostile code is expected: 3.11 answers 50,000 nested operators with RecursionError or MemoryError (tried), which
    count as "too deeply nested", and null bytes with ValueError or SyntaxError, depending on the release.
    """
    if len(code) > MAX_CHECKED:
        return 1, f"longer than {MAX_CHECKED} characters"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SyntaxWarning of an invalid escape is the code's, not ours
            ast.parse(code)
    except SyntaxError as error:
        return error.lineno or 1, error.msg
    except (RecursionError, MemoryError):
        return 1, "too deeply nested"
    except ValueError as error:
        return 1, str(error)
    return None


def _closes(line: str, fence: tuple[int, str, str]) -> bool:
    indent = len(line) - len(line.lstrip(" \t"))
    mark = line.strip()
    # CommonMark allows three more spaces; with more it is a fence inside a docstring.
    return indent <= fence[0] + 3 and len(mark) >= len(fence[1]) and set(mark) == {fence[1][0]}


def _dedented(line: str, indent: int) -> str:
    spaces = len(line) - len(line.lstrip(" \t"))
    return line[min(spaces, indent) :]


def _trimmed(lines: list[str]) -> str:
    filled = [index for index, line in enumerate(lines) if line.strip()]
    return "\n".join(lines[filled[0] : filled[-1] + 1]) if filled else ""


def _ends(lines: list[str], start: int) -> Iterator[int]:
    """Where code that starts at ``start`` may end, the longest first: before a line that starts at the margin."""
    yield len(lines)
    for index in range(len(lines) - 1, start, -1):
        if lines[index].strip() and not lines[index][0].isspace():
            yield index


def _does_something(code: str) -> bool:
    """More than names and strings: "Hello" parses as Python too."""
    return any(
        not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call | ast.Await | ast.Yield)
        for node in ast.parse(code).body
    )
