"""Summaries that people wrote of code: the first line of a docstring, of the function and the rest of the docstring."""

import ast
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["docstring_summary"]

_SENTENCE = re.compile(r"[A-Z][^\n]{24,}[.]")
FEWEST_WORDS = 5
SHORTEST_REST = 120
"""Characters of the function without its summary; less holds nothing to summarize."""


def docstring_summary(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """A function with its summary taken out, as a row of summarization; None for one that has no such summary.

    Args:
        record: ``prompt`` (signature and docstring) and ``response`` (the body), as the set python-functions has them.
    """
    prompt, body = record.get("prompt"), record.get("response")
    if not (isinstance(prompt, str) and isinstance(body, str)):
        return None
    try:
        docstring = ast.get_docstring(ast.parse(f"{prompt.rstrip()}\n    pass\n").body[-1])  # type: ignore[arg-type]
    except (SyntaxError, TypeError, ValueError, IndexError):
        return None
    summary = (docstring or "").partition("\n\n")[0]
    if not _SENTENCE.fullmatch(summary) or len(summary.split()) < FEWEST_WORDS or summary not in prompt:
        return None
    text = f"{prompt.replace(summary, '', 1).rstrip()}\n{body}\n"
    if len(text) < SHORTEST_REST or summary in text:
        return None
    return {**record, "text": text, "summary": summary}
