"""A training row and what a preparation step may do with it."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.errors import InputError
from pipelines.tasks import TASKS

__all__ = ["Outcome", "Redaction", "Row", "Step", "change", "drop", "keep", "split"]


@dataclass(frozen=True)
class Row:
    """One training row: a request of a task and the reply that a good model gives.

    Attributes:
        id: ``<source>:<number of the record from 1 on>``; pieces of a row that was split add ``.1``, ``.2``…
        request: Fields of the task's request, plain JSON data, defaults left out.
        reply: What the model should answer.
        group: Rows of one group stay on one side of the train/test split: a document, a conversation.
        source: Name of the source it comes from.
        tokens: Tokens of the whole row as the model reads it, 0 before they are counted.
        trained: How many of them carry loss.
    """

    id: str
    request: dict[str, Any]
    reply: str
    group: str
    source: str
    tokens: int = 0
    trained: int = 0

    def texts(self, task: str) -> Iterator[str]:
        """Every text that a person wrote: the request's free text fields, each turn of a conversation, the reply."""
        for name in TASKS[task].text_fields:
            value = self.request.get(name)
            if isinstance(value, str):
                yield value
            elif isinstance(value, list):
                yield from (turn["content"] for turn in value)
            elif isinstance(value, Mapping):
                for pair in value.items():
                    yield from pair
        yield self.reply

    def with_texts(self, task: str, rewrite: Callable[[str], str]) -> "Row":
        """This row with every text rewritten; the row itself where nothing changed."""

        def rewritten(value: Any) -> Any:
            if isinstance(value, str):
                return rewrite(value)
            if isinstance(value, list):
                return [{**turn, "content": rewrite(turn["content"])} for turn in value]
            return {rewrite(key): rewrite(text) for key, text in value.items()}

        names = [name for name in TASKS[task].text_fields if self.request.get(name)]
        request = {**self.request, **{name: rewritten(self.request[name]) for name in names}}
        reply = rewrite(self.reply)
        if request == self.request and reply == self.reply:
            return self
        return replace(self, request=request, reply=reply)

    def to_json(self) -> str:
        """One line of a prepared file, without its line break."""
        return json.dumps(self.__dict__, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> "Row":
        """The row in a line of a prepared file.

        Raises:
            InputError: ``data_row_format`` where the line is none.
        """
        try:
            row = cls(**json.loads(line))
            kinds = {"id": str, "request": dict, "reply": str, "group": str, "source": str, "tokens": int}
            if wrong := [name for name, kind in kinds.items() if not isinstance(getattr(row, name), kind)]:
                raise ValueError(f"wrong types: {', '.join(wrong)}")
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError("data_row_format", problem=str(error)) from None
        return row


@dataclass(frozen=True)
class Redaction:
    """Personal data that was replaced; kept in a private file only.

    Attributes:
        kind: ``email``, ``phone``, ``card``, ``iban``, ``national_id``, ``name``.
        text: What stood there.
        replacement: What stands there now.
    """

    kind: str
    text: str
    replacement: str


@dataclass(frozen=True)
class Outcome:
    """What a step made of a row; use ``keep``, ``change``, ``split`` and ``drop``.

    Attributes:
        rows: None for a dropped row, several for one that was split.
        changes: What was done to it, as words that the ledger counts: ``mojibake``, ``email``…
        reason: Why it was dropped: a word that the ledger counts.
        details: Plain JSON data on that, for the list of rejected rows.
        redactions: Personal data that was replaced.
    """

    rows: tuple[Row, ...] = ()
    changes: tuple[str, ...] = ()
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    redactions: tuple[Redaction, ...] = ()


Step = Callable[[Row], Outcome]
"""A pure function of one row. Steps that need other rows (duplicates, the split) are not among them."""


def keep(row: Row) -> Outcome:
    """The row as it is."""
    return Outcome((row,))


def change(row: Row, *changes: str, redactions: tuple[Redaction, ...] = ()) -> Outcome:
    """The row with something changed."""
    return Outcome((row,), changes, redactions=redactions)


def split(rows: tuple[Row, ...], *changes: str) -> Outcome:
    """Several rows instead of one."""
    return Outcome(rows, changes)


def drop(reason: str, **details: Any) -> Outcome:
    """No row, and why."""
    return Outcome(reason=reason, details=details)
