"""Split a long text into chunks that a model reads one at a time, with every character accounted for.

    text ──blocks──▶ text and space between ──sentences──▶ sentences ──group──▶ chunks under a token budget

Everything is a ``Piece``, a span over the source. The pieces of each level follow one another without gap or overlap,
so "what became of character 12,345?" always has an answer.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TypeVar

__all__ = ["CountTokens", "Piece", "blocks", "flow", "group", "sentences", "waves"]

CountTokens = Callable[[str], int]
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Piece:
    """A span of the source.

    Attributes:
        start: First character.
        end: One behind the last character.
        kind: ``text`` for what a model reads, ``space`` for what is kept as it is: line breaks, indentation, markers.
        code: ``sentence_split`` where a sentence was over the budget and had to be cut here.
    """

    start: int
    end: int
    kind: str = "text"
    code: str = ""

    def of(self, text: str) -> str:
        """The characters of this piece."""
        return text[self.start : self.end]


# Indentation, then list markers, quote marks of e-mails, headings: "- ", "1. ", "2) ", "a) ", "> ", "## ", "- [ ] ".
_LEAD = re.compile(
    r"[^\S\n]*(?:(?:>|#{1,6}|[-*+•·▪◦‣–—](?:[ \t]+\[[ xX]\])?|\(?(?:\d{1,3}[.)]|[A-Za-z]\)|[ivxIVX]{2,5}[.)]))[^\S\n]+"
    r"|[一二三四五六七八九十]{1,3}、\s*)*"
)
_LINE_BREAK = re.compile(r"\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")

SHORTEST_WRAPPED, LONGEST_WRAPPED = 45, 100
"""Characters of a line that an editor or a mail program wrapped: they wrap at 60 to 100, and a long
word before it."""

_SENTENCE_END = ".!?…:;。！？：；”\"'»)]}"


def blocks(text: str) -> list[Piece]:
    """Part a text into what is read (one piece for each line) and what is kept as it is.

    Lines that were wrapped in the middle of sentences, as in an e-mail or an old text file, stay together as one
    piece: line by line they would be fragments. ``flow`` joins them.
    """
    lines = _lines(text)
    pieces: list[Piece] = []
    index, kept_from = 0, 0
    while index < len(lines):
        start, end = lines[index]
        last = _last_wrapped(text, lines, index)
        index, end = last + 1, lines[last][1]
        if start == end:
            continue
        if kept_from < start:
            pieces.append(Piece(kept_from, start, "space"))
        pieces.append(Piece(start, end))
        kept_from = end
    if kept_from < len(text):
        pieces.append(Piece(kept_from, len(text), "space"))
    return pieces


def flow(text: str) -> str:
    """Wrapped lines as one line: a space for each line break, nothing between two characters that need none."""
    if not _LINE_BREAK.search(text):
        return text
    joined = ""
    for part in (part for line in _LINE_BREAK.split(text) if (part := line.strip())):
        dense = joined and _is_dense(joined[-1]) and _is_dense(part[0])
        joined += part if dense or not joined else " " + part
    return joined


def sentences(text: str, piece: Piece, language: str) -> list[Piece]:
    """The sentences of a piece, each with the space behind it.

    Args:
        text: The whole source.
        piece: What to part.
        language: Tag of the language; an unknown one is parted by rules that most languages share.
    """
    import sentencex

    part = piece.of(text)
    # A line break that wraps a line looks like an end to the library; as a space it does not, and lengths stay equal.
    unwrapped = _LINE_BREAK.sub(lambda match: " " * len(match.group()), part)
    segments = list(sentencex.segment(language.split("-")[0], unwrapped))
    if sum(map(len, segments)) != len(part) or any(not segment for segment in segments):
        return [piece]  # the library lost or changed characters: one long sentence is the honest account
    found: list[Piece] = []
    position = piece.start
    for segment in segments:
        if found and not segment.strip():  # blank space belongs to the sentence before
            found[-1] = Piece(found[-1].start, position + len(segment))
        else:
            found.append(Piece(position, position + len(segment)))
        position += len(segment)
    return found


def group(text: str, parts: Sequence[Piece], count_tokens: CountTokens, budget: int) -> list[Piece]:
    """Join neighbouring parts into chunks of at most ``budget`` tokens; cut a part that alone is longer.

    Args:
        text: The whole source.
        parts: Pieces that follow one another without gap.
        count_tokens: Tokens of a text.
        budget: Most tokens of a chunk. Only a single character that has more by itself goes beyond.
    """
    fitting: list[tuple[Piece, int]] = []
    for part in parts:
        count = _count(text, part, count_tokens, budget)
        fitting += [(part, count)] if count <= budget else _cut(text, part, count_tokens, budget)
    chunks: list[Piece] = []
    members: list[Piece] = []
    total = 0
    for part, count in fitting:
        if members and (total + count > budget or part.start != members[-1].end):
            chunks += _joined(text, members, count_tokens, budget)
            members, total = [], 0
        members.append(part)
        total += count
    return chunks + (_joined(text, members, count_tokens, budget) if members else [])


def waves(items: Sequence[ItemT], sizes: Sequence[int], counts: Callable[[ItemT], bool]) -> Iterator[list[ItemT]]:
    """The items in order, in lists that hold ``sizes`` of those that count; the last size repeats."""
    rest = chain(sizes, repeat(sizes[-1]))
    left = next(rest)
    wave: list[ItemT] = []
    for item in items:
        wave.append(item)
        left -= counts(item)
        if not left:
            yield wave
            wave, left = [], next(rest)
    if wave:
        yield wave


def _joined(text: str, members: list[Piece], count_tokens: CountTokens, budget: int) -> list[Piece]:
    """One chunk of several parts; two where the whole has more tokens than the sum of its parts (rare, but allowed)."""
    code = next((member.code for member in members if member.code), "")
    whole = Piece(members[0].start, members[-1].end, members[0].kind, code)
    if len(members) == 1 or count_tokens(whole.of(text)) <= budget:
        return [whole]
    middle = len(members) // 2
    return [
        *_joined(text, members[:middle], count_tokens, budget),
        *_joined(text, members[middle:], count_tokens, budget),
    ]


def _count(text: str, part: Piece, count_tokens: CountTokens, budget: int) -> int:
    # No tokenizer makes one token of 64 characters of prose on average; a part of megabytes need not be counted.
    if part.end - part.start > 64 * budget:
        return budget + 1
    return count_tokens(part.of(text))


def _cut(text: str, part: Piece, count_tokens: CountTokens, budget: int) -> list[tuple[Piece, int]]:
    """Cut a part that is over the budget: behind clause marks, else behind spaces, else between characters."""
    pieces: list[tuple[Piece, int]] = []
    start, size = part.start, max(1, 4 * budget)
    while start < part.end:
        end = min(part.end, start + size)
        while (count := count_tokens(text[start:end])) > budget and end - start > 1:
            end = start + max(1, min(end - start - 1, int((end - start) * 0.95 * budget / count)))
        size = max(1, 2 * (end - start)) if end < part.end else size  # the next window starts from what fitted here
        if end < part.end:
            end = _best_cut(text, start, end, part.end)
            count = count_tokens(text[start:end])
        tighter = _character_end(text, start, start + (end - start) // 2, end)
        if count > budget and tighter < end:
            # Fewer characters with more tokens: possible where a cut falls inside a word. Halving ends it.
            end, count = tighter, count_tokens(text[start:tighter])
        pieces.append((Piece(start, end, code="sentence_split"), count))
        start = end
    return pieces


_CLAUSE = re.compile(r"(?:[,;:–—…)\]}](?=\s)|[，；：、。！？」』）])[ \t\n]*")
_SPACE = re.compile(r"\s+")


def _best_cut(text: str, start: int, end: int, limit: int) -> int:
    """The last good place to cut in the second half of ``text[start:end]``."""
    half = start + (end - start) // 2
    for mark in (_CLAUSE, _SPACE):
        for match in reversed(list(mark.finditer(text, half, end))):
            if not _inside(text, match.end()):
                return match.end()
    return _character_end(text, start, end, limit)


def _character_end(text: str, start: int, end: int, limit: int) -> int:
    """``end`` moved back, or where that leaves nothing forward, to a place between two visible characters."""
    cut = max(end, start + 1)
    while cut > start + 1 and cut < limit and _inside(text, cut):
        cut -= 1
    if cut > start + 1 or not (cut < limit and _inside(text, cut)):
        return cut
    cut = max(end, start + 1)
    while cut < limit and _inside(text, cut):
        cut += 1
    return cut


def _inside(text: str, index: int) -> bool:
    """Whether a cut before ``text[index]`` falls inside one visible character (a practical part of UAX 29)."""
    before, after = text[index - 1], text[index]
    if before == "\u200d" or after in "\u200d\ufe0e\ufe0f" or (before == "\r" and after == "\n"):
        return True
    if unicodedata.category(after) in ("Mn", "Mc", "Me") or "\U0001f3fb" <= after <= "\U0001f3ff":
        return True
    if "\U0001f1e6" <= after <= "\U0001f1ff":  # flags are pairs: inside where an odd number of letters stands before
        run = index
        while run > 0 and index - run < 64 and "\U0001f1e6" <= text[run - 1] <= "\U0001f1ff":
            run -= 1
        return (index - run) % 2 == 1
    return "\u1160" <= after <= "\u11ff"  # vowels and finals of a decomposed Korean syllable


def _lines(text: str) -> list[tuple[int, int]]:
    """What is read of each line: without indentation, markers and the blank space at its end."""
    found = []
    start = 0
    while start <= len(text):
        match = _LINE_BREAK.search(text, start)
        end = match.start() if match else len(text)
        lead = _LEAD.match(text, start, end)
        first = lead.end() if lead else start
        found.append((first, first + len(text[first:end].rstrip())))
        if match is None:
            break
        start = match.end()
    return found


def _last_wrapped(text: str, lines: Sequence[tuple[int, int]], index: int) -> int:
    """The last line of a wrapped paragraph that begins at ``index``; ``index`` itself where the line stands alone."""
    last = index
    broken = False
    while last + 1 < len(lines):
        start, end = lines[last]
        next_start, next_end = lines[last + 1]
        between = text[end:next_start]
        plain = not between.strip() and len(_LINE_BREAK.findall(between)) == 1
        if not plain or next_start == next_end or not SHORTEST_WRAPPED <= end - start <= LONGEST_WRAPPED:
            break
        first, before = text[next_start], text[end - 1]
        broken = broken or (
            before not in _SENTENCE_END and (first.islower() or (_is_dense(first) and _is_dense(before)))
        )
        last += 1
    # Lines that all end in full stops are lines on purpose: a list, a dialogue.
    return last if broken else index


def _is_dense(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
