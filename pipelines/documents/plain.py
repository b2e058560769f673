"""Plain text, and subtitles (SubRip): everything that is not a sentence stays byte for byte."""

import re
from collections import Counter

from pipelines.documents.parts import Parts, decoded, encoded, outer

__all__ = ["subtitles", "text"]

_TIME = re.compile(r"^\s*\d+:\d\d:\d\d[,.]\d{1,3}\s*-->\s*\d+:\d\d:\d\d[,.]\d{1,3}.*$")
_FRAME = re.compile(
    r"^(?P<before>(?:\s|\{\\[^}]*\}|<[^>]*>|[-–—](?=\s))*)(?P<core>.*?)(?P<after>(?:\s|<[^>]*>)*)$", re.S
)
_TURN = re.compile(r"^\s*(?:\{\\[^}]*\})?[-–—]\s*\S")
_WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff]")


def text(data: bytes, name: str) -> Parts:
    """The paragraphs of a text; blank lines between them stay."""
    whole, notes = decoded(data, name)
    pieces = re.split(r"((?:\r?\n[ \t]*){2,})", whole)
    frames = [outer(piece) for piece in pieces]
    places = [index for index, (_, core, _) in enumerate(frames) if core]

    def rebuild(texts: list[str]) -> bytes:
        out = list(pieces)
        for place, new in zip(places, texts, strict=True):
            before, core, after = frames[place]
            out[place] = before + _with_ends_of(new, core) + after
        return encoded("".join(out), data)

    return Parts([frames[place][1] for place in places], rebuild, notes=notes)


def subtitles(data: bytes, name: str) -> Parts:
    """The cues of a SubRip file; numbers and times are not touched, so there are as many cues as before."""
    whole, notes = decoded(data, name)
    lines = whole.splitlines(keepends=True)
    texts: list[str] = []
    cues: list[tuple[int, int, str, str, list[str]]] = []
    left: Counter[str] = Counter()
    index = 0
    while index < len(lines):
        if not _TIME.match(lines[index].rstrip("\r\n")):
            index += 1
            continue
        start = index = index + 1
        while index < len(lines) and lines[index].strip():
            index += 1
        bounds = [start]
        if index - start > 1 and all(_TURN.match(line) for line in lines[start:index]):
            bounds = list(range(start, index))  # one line for each speaker
        for first, last in zip(bounds, [*bounds[1:], index], strict=True):
            match = _FRAME.match("".join(lines[first:last]))
            if last > first and match and match["core"]:
                shown = match["core"].splitlines()
                texts.append(" ".join(line.strip() for line in shown))
                cues.append((first, last, match["before"], match["after"], shown))

    def rebuild(new: list[str]) -> bytes:
        out = list(lines)
        for (first, last, before, after, shown), old, cue in zip(cues, texts, new, strict=True):
            ending = "\r\n" if "\r\n" in "".join(lines[first:last]) else "\n"
            # A blank line ends a cue, and a line that looks like a time begins one: neither may come from a model.
            cue = cue.replace("-->", "→")
            broken = shown if cue == old else _broken(" ".join(cue.split()), len(shown))
            out[first:last] = [before + ending.join(broken) + after, *[""] * (last - first - 1)]
        return encoded("".join(out), data)

    return Parts(texts, rebuild, left, notes)


def _broken(cue: str, count: int) -> list[str]:
    """A cue on at most so many lines of about the same width."""
    words = list(cue) if _WIDE.search(cue) and " " not in cue else cue.split(" ")
    gap = "" if len(words) == len(cue) and " " not in cue else " "
    lines, width = [""], len(cue) / max(1, count)
    for word in words:
        if lines[-1] and len(lines) < count and len(lines[-1]) + len(word) / 2 > width:
            lines.append(word)
        else:
            lines[-1] += (gap if lines[-1] else "") + word
    return lines


def _with_ends_of(new: str, old: str) -> str:
    if new == old:
        return new
    return new.replace("\r\n", "\n").replace("\n", "\r\n") if "\r\n" in old else new
