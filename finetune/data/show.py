"""One row as a model will read it, and what a file of rows is like: lengths and languages. Nothing here prints."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from finetune.data.config import Source
from finetune.data.deciding import SPLITS
from finetune.data.ledger import Ledger
from finetune.data.records import Record, checked
from finetune.data.rendering import Rendered, Renderer
from finetune.data.row import Row
from finetune.data.shapes import check_columns, recognise
from finetune.data.sources import open_sources
from pipelines.errors import InputError
from pipelines.text.languages import detect

__all__ = ["Piece", "ShownRow", "Survey", "pieces", "prepared_row", "raw_row", "survey", "visible"]

_LONGEST_CHARACTER = 4
"""Bytes, and so at most tokens, of one character in UTF-8."""
_JUDGED = 500
"""Characters of a reply that tell its language, as in the ledger."""
_PRINTED = {"\n", "\t", "\u200c", "\u200d"}
"""What stays: line breaks, tabs, and the joiners of Persian, Hindi and emoji."""


@dataclass(frozen=True)
class Piece:
    """The smallest run of tokens that is a text of its own; a Chinese character may take three tokens.

    Attributes:
        ids: Its tokens.
        text: What they say, as it is: not fit for a terminal.
        loss: Whether they carry loss.
    """

    ids: list[int]
    text: str
    loss: bool


@dataclass(frozen=True)
class ShownRow:
    """A row as its model will read it.

    Attributes:
        part: ``train``, ``validation`` or ``test``; empty for a row of a raw file.
        number: Its place in the file, from 1 on.
        row: The row.
        rendered: Its tokens, and which of them carry loss.
        tokens: The same as text: of a causal model prompt and reply, of an encoder–decoder model the decoder's side.
        encoder: What the encoder reads; None for a causal model.
        over: (tokens, limit) where it is too long for the model.
    """

    part: str
    number: int
    row: Row
    rendered: Rendered
    tokens: list[Piece]
    encoder: list[Piece] | None
    over: tuple[int, int] | None

    @classmethod
    def of(cls, part: str, number: int, row: Row, renderer: Renderer) -> "ShownRow":
        """Render a row.

        Raises:
            InputError: The model cannot read it.
        """
        rendered, tokenizer = renderer.render(row), renderer.tokenizer
        encoder = rendered.encoder
        return cls(
            part=part,
            number=number,
            row=row,
            rendered=rendered,
            tokens=pieces(tokenizer, rendered.tokens, rendered.labels),
            encoder=None if encoder is None else pieces(tokenizer, encoder, [False] * len(encoder)),
            over=renderer.over(rendered),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "part": self.part or None,
            "number": self.number,
            "row": self.row.__dict__,
            "total": self.rendered.total,
            "trained": sum(self.rendered.labels),
            "over": None if self.over is None else dict(zip(("tokens", "limit"), self.over, strict=True)),
            "remarks": list(self.rendered.remarks),
            "tokens": self.rendered.tokens,
            "labels": self.rendered.labels,
            "encoder": self.rendered.encoder,
            "pieces": [asdict(piece) for piece in self.tokens],
            "encoder_pieces": None if self.encoder is None else [asdict(piece) for piece in self.encoder],
        }


@dataclass
class Survey:
    """What the first records of a raw file are like, before any step has cleaned them.

    Attributes:
        read: Records that were looked at.
        whole: Whether that was all of them.
        rows: How many are rows of the task that the model can read.
        dropped: Those that are none, by reason.
        over_long: Rows that are too long for the model.
        lengths: Rows by tokens, in powers of two: the key is the largest number that still counts.
        languages: Rows by the language of their reply, ``und`` where it is not sure.
    """

    read: int = 0
    whole: bool = True
    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    over_long: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, in the order and with the keys of a ledger."""
        lengths = {str(size): self.lengths[size] for size in sorted(self.lengths)}
        languages = dict(sorted(self.languages.items(), key=lambda item: (-item[1], item[0])))
        return {**asdict(self), "dropped": dict(self.dropped), "lengths": lengths, "languages": languages}


def pieces(tokenizer: Any, ids: Sequence[int], labels: Sequence[bool]) -> list[Piece]:
    """Tokens as text, in runs that are as short as their characters allow.

    Args:
        tokenizer: The model's.
        ids: Tokens.
        labels: Which of them carry loss, one for each.
    """
    added = {token: entry.content for token, entry in tokenizer.added_tokens_decoder.items()}
    found: list[Piece] = []
    # Some tokenizers drop the space of a first token, so each run is decoded behind the one before it.
    before: list[int] = []
    run: list[int] = []
    for place, (token, loss) in enumerate(zip(ids, labels, strict=True)):
        run.append(token)
        last = place + 1 == len(ids) or labels[place + 1] != loss or ids[place + 1] in added
        if token in added and len(run) == 1:
            found.append(Piece(run, added[token], loss))
            before, run = [], []
            continue
        text = _behind(tokenizer, before, run)
        if text.endswith("\ufffd") and not last and len(run) < _LONGEST_CHARACTER:
            continue  # a part of a character
        found.append(Piece(run, text or "".join(tokenizer.convert_ids_to_tokens(run)), loss))
        before, run = run, []
    return found


def visible(text: str) -> str:
    r"""A text in which nothing is hidden and nothing moves a terminal: such characters are written as ``\x1b``."""
    return "".join(
        character if character in _PRINTED or unicodedata.category(character) not in _HIDDEN else _escape(character)
        for character in text
    )


def prepared_row(folder: Path, ledger: Ledger, which: str, part: str | None = None) -> tuple[str, int, Row]:
    """A row of a prepared data set.

    Args:
        folder: Where the data set lies.
        ledger: Its ledger.
        which: Place of the row in its file, from 1 on, or its id.
        part: ``train``, ``validation`` or ``test``; None takes the first that has rows, or looks in all for an id.

    Returns:
        The part, the place and the row.

    Raises:
        InputError: There is no such row, or the file is not as it was written.
    """
    filled = [name for name in SPLITS if name in ledger.splits and ledger.splits[name].rows]
    if not filled or part not in (None, *filled):  # weights may have left nothing out of a few rows
        raise InputError("data_show_part", part=part or SPLITS[0], out=str(folder), filled=filled or "–")
    if which.lstrip("+-").isdecimal():
        part = part or filled[0]
        number, rows = int(which), ledger.splits[part].rows
        for place, line in _lines(folder / f"{part}.jsonl", number):
            return part, place, _row(line)
        raise InputError("data_show_number", path=f"{part}.jsonl", rows=rows, found=number)
    wanted = json.dumps(which, ensure_ascii=False).encode("utf-8", "replace")
    for name in [part] if part else filled:
        for place, line in _lines(folder / f"{name}.jsonl"):
            if wanted in line and (row := _row(line)).id == which:
                return name, place, row
    if rejected := _rejected(folder / "rejected.jsonl", wanted, which):
        raise InputError("data_show_rejected", id=which, step=rejected["step"], reason=rejected["reason"])
    example = next((_row(line).id for _, line in _lines(folder / f"{part or filled[0]}.jsonl")), "–")
    raise InputError("data_show_id", id=which, out=str(folder), example=example)


def raw_row(source: Source, task: str, which: str) -> tuple[int, Row]:
    """A row of a raw file, as it is before any step has cleaned it.

    Args:
        source: The file, and what its columns mean.
        task: Name of the task.
        which: Number of the record, from 1 on, which is the line of a JSONL file; or its id.

    Raises:
        InputError: The file cannot be read, there is no such record, or it is no row of the task.
    """
    seen, last = 0, "1"
    for record in _records(source, task):
        seen, last = seen + 1, record.id
        number = record.id.rpartition(":")[2]
        if which not in (record.id, number):
            continue
        row, reason, details = _recognised(record, source, task)
        if row is None:
            shown = [f"{name}: {value}" for name, value in details.items()]
            raise InputError("data_show_no_row", id=record.id, task=task, reason=reason, details=shown or "–")
        return int(number), row
    raise InputError("data_show_record", path=source.path, records=seen, found=which, last=last.rpartition(":")[2])


def survey(source: Source, task: str, renderer: Renderer, limit: int) -> Survey:
    """Look at the first records of a raw file.

    Args:
        source: The file, and what its columns mean.
        task: Name of the task.
        renderer: Of the model that counts the tokens.
        limit: Records to look at.

    Raises:
        InputError: The file cannot be read.
    """
    found = Survey()
    for record in islice(_records(source, task), limit + 1):
        if found.read == limit:
            found.whole = False
            break
        found.read += 1
        row, reason, _ = _recognised(record, source, task)
        if row is None:
            found.dropped[reason] += 1
            continue
        try:
            rendered = renderer.render(row)
        except InputError:
            found.dropped["not_renderable"] += 1
            continue
        found.rows += 1
        found.over_long += renderer.over(rendered) is not None
        found.lengths[1 << max(rendered.total - 1, 0).bit_length()] += 1
        language = detect(row.reply[:_JUDGED])
        found.languages[language[0] if language else "und"] += 1
    return found


_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's control and format characters, halves of surrogate pairs, and the two separators that break lines."""


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _behind(tokenizer: Any, before: list[int], run: list[int]) -> str:
    """Text of a run of tokens, as it reads behind another."""

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    known, grown = decode(before) if before else "", decode([*before, *run])
    return grown[len(known) :] if grown.startswith(known) else decode(run)


def _lines(path: Path, only: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Lines with their places from 1 on, or the one at a place."""
    try:
        with path.open("rb") as file:
            lines: Iterable[tuple[int, bytes]] = enumerate(file, 1)
            yield from lines if only is None else islice(lines, max(only - 1, 0), max(only, 0))
    except OSError as error:
        raise InputError("data_unreadable", path=str(path), problem=error.strerror or str(error)) from error


def _row(line: bytes) -> Row:
    row = Row.from_json(line)
    if not (isinstance(row.request, dict) and isinstance(row.reply, str) and isinstance(row.id, str)):
        raise InputError("data_row_format", problem="request, reply or id is of another type")
    return row


def _rejected(path: Path, wanted: bytes, name: str) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    for _, line in _lines(path):
        if wanted in line:
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("id") == name:
                return entry
    return None


def _records(source: Source, task: str) -> Iterator[Record]:
    check_columns(source, task)
    (opened,) = open_sources([source])
    return opened.records()


def _recognised(record: Record, source: Source, task: str) -> tuple[Row | None, str, dict[str, Any]]:
    """The row of a record; or why it is none, with details."""
    named = source if source.name else source.model_copy(update={"name": Path(source.path).name})
    outcome = checked(record) or recognise(record, named, task)
    return (outcome.rows[0] if outcome.rows else None), outcome.reason, dict(outcome.details)
