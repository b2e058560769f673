"""Markdown: the text of headings, paragraphs, list items and cells; code, HTML and front matter stay as they are."""

import itertools
import re
from collections import Counter

from pipelines.documents.parts import Parts, decoded, encoded, outer

__all__ = ["markdown"]

_FRONT = re.compile(r"\A---[ \t]*\r?\n.*?\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.S)
_MARKER = re.compile(r"^(\s*)([#>+*=~|-]+|`{3,}|\d+[.)])(?=\s|$|[=~-]|(?<=[`>|]))")
_HARD = re.compile(r"( {2,}|\\)$")
_KEPT = {"fence": "code", "code_block": "code", "html_block": "html"}


def markdown(data: bytes, name: str) -> Parts:
    """The blocks of a Markdown file; one paragraph is one text, whatever lines it stands on."""
    from markdown_it import MarkdownIt

    whole, notes = decoded(data, name)
    front = match.end() if (match := _FRONT.match(whole)) else 0
    newline = "\r\n" if "\r\n" in whole else "\n"
    lines = re.split(r"\r?\n", whole[front:])
    left: Counter[str] = Counter({"front": 1} if front else {})
    found: list[tuple[int, int, int, int, str]] = []  # first line, column; last line, column; text
    columns: dict[int, int] = {}
    in_table = False
    for token in MarkdownIt("commonmark").enable("table").parse("\n".join(lines)):
        in_table = (in_table or token.type == "table_open") and token.type != "table_close"
        if token.type in _KEPT:
            left[_KEPT[token.type]] += 1
        if token.type != "inline" or token.map is None or not token.content.strip():
            continue
        for first, last in _groups(token.content.split("\n")):
            contents = token.content.split("\n")[first:last]
            start = token.map[0] + first
            spans = []
            for number, content in enumerate(contents, start):
                column = lines[number].find(content, columns.get(number, 0)) if number < len(lines) else -1
                if column < 0 or not content:
                    break
                columns[number] = column + len(content)
                spans.append((number, column, column + len(content)))
            if len(spans) < len(contents):
                left["unclear"] += 1
                continue
            _, core, _ = outer(" ".join(content.strip() for content in contents))
            found.append((spans[0][0], spans[0][1], spans[-1][0], spans[-1][2], core))
            if in_table:
                found[-1] = (*found[-1][:4], "\x00" + core)

    def rebuild(texts: list[str]) -> bytes:
        out: list[str] = list(lines)
        for (top, start, bottom, end, old), new in reversed(list(zip(found, texts, strict=True))):
            cell, old = old.startswith("\x00"), old.removeprefix("\x00")
            if new == old:
                continue
            flat = _MARKER.sub(r"\1\\\2", " ".join(new.split()))
            flat = re.sub(r"(?<!\\)\|", r"\\|", flat) if cell else flat
            hard = _HARD.search(out[bottom][:end])
            tail = (hard[0] if hard and not flat.endswith(hard[0]) else "") + out[bottom][end:]
            out[top : bottom + 1] = [out[top][:start] + flat + tail]
        return encoded(whole[:front] + newline.join(out), data)

    return Parts([text.removeprefix("\x00") for *_, text in found], rebuild, left, notes)


def _groups(contents: list[str]) -> list[tuple[int, int]]:
    """Lines of a paragraph that are read together: up to a hard break."""
    bounds = [0, *(index + 1 for index, line in enumerate(contents[:-1]) if _HARD.search(line)), len(contents)]
    return list(itertools.pairwise(bounds))
