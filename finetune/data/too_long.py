"""Rows that do not fit: counted, split where that keeps their meaning, or dropped; never cut."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from finetune.data.config import DataConfig
from finetune.data.rendering import Renderer
from finetune.data.row import Outcome, Row, Step, drop, split
from pipelines.errors import InputError
from pipelines.text.split import Piece, sentences

__all__ = ["too_long"]


def too_long(renderer: Renderer, config: DataConfig) -> Step:
    """The step "too_long": counts the tokens of a row as its model reads it.

    A row that does not fit is dropped as ``too_long`` (details: ``tokens``, ``limit``), whatever the policy: with
    ``error`` the whole preparation fails afterwards. With ``split`` a translation is divided between paragraphs, or
    sentences, where both sides have as many of them, and a dialogue into windows of whole exchanges; what cannot be
    divided without making another task of it (a summary, a program, a poem) is dropped as ``not_splittable``. A row
    that the model cannot read at all is dropped as ``not_renderable``.

    Args:
        renderer: Of the model that will read the rows.
        config: Limit and policy.
    """

    def step(row: Row) -> Outcome:
        try:
            counted, over = _counted(renderer, row, config.max_tokens)
            if over is None:
                return Outcome((counted[0],), counted[1])
            if config.too_long != "split":
                return drop("too_long", tokens=over[0], limit=over[1])
            pieces = _divided(renderer, row, config)
        except InputError as error:
            return drop("not_renderable", problem=str(error))
        if pieces is None:
            return drop("not_splittable", tokens=over[0], limit=over[1])
        return split(pieces, "split")

    return step


def _counted(
    renderer: Renderer, row: Row, limit: int | None
) -> tuple[tuple[Row, tuple[str, ...]], tuple[int, int] | None]:
    """The row with its tokens, what the renderer remarked; and (tokens, limit) where it does not fit."""
    rendered = renderer.render(row)
    counted = replace(row, tokens=rendered.total, trained=sum(rendered.labels))
    return (counted, rendered.remarks), renderer.over(rendered, limit)


def _divided(renderer: Renderer, row: Row, config: DataConfig) -> tuple[Row, ...] | None:
    """The row in pieces that fit, each as large as can be; None where it cannot be divided."""
    units = _units(row, config.task)
    if len(units) < 2:
        return None
    pieces: list[Row] = []
    start = 0

    def fitting(count: int) -> Row | None:
        """The next so many units as a row; None where they do not fit."""
        part = _joined(row, units[start : start + count], config.task)
        (counted, _), over = _counted(renderer, replace(part, id=f"{row.id}.{len(pieces) + 1}"), config.max_tokens)
        return None if over else counted

    while start < len(units):
        best = _longest(fitting, len(units) - start)
        if best is None:
            return None
        pieces.append(best[0])
        start += best[1]
    return tuple(pieces)


def _longest(fitting: Callable[[int], Row | None], most: int) -> tuple[Row, int] | None:
    """The longest beginning that fits, and its units: by doubling, then by halving what is left.

    To try one unit more each time takes 34 s for a chat of 250 turns, and this takes one.
    """
    found: tuple[Row, int] | None = None
    low, high = 0, most + 1  # low units fit, and high do not
    while high - low > 1:
        count = min(2 * low or 1, most) if high > most else (low + high) // 2
        if piece := fitting(count):
            found, low = (piece, count), count
        else:
            high = count
    return found


def _units(row: Row, task: str) -> list[Any]:
    """What a row is made of that stays whole: pairs of paragraphs, or exchanges of a dialogue."""
    if task == "translation":
        languages = row.request.get("source", "auto"), row.request["target"]
        for divide in (_paragraphs, _sentences):
            texts = divide(row.request["text"], languages[0])
            replies = divide(row.reply, languages[1])
            if len(texts) == len(replies) > 1 and all(part.strip() for part in (*texts, *replies)):
                return list(zip(texts, replies, strict=True))
    if task == "dialogue":
        return list(_exchanges([*row.request["messages"], {"role": "assistant", "content": row.reply}]))
    return []


def _paragraphs(text: str, language: str) -> list[str]:
    return re.findall(r"[^\n]+\n*", text.strip("\n"))


def _sentences(text: str, language: str) -> list[str]:
    whole = Piece(0, len(text))
    return [piece.of(text) for piece in sentences(text, whole, "en" if language == "auto" else language)]


def _exchanges(turns: list[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """Turns up to and with each answer of the assistant; a system message belongs to the request and to every piece."""
    exchange: list[dict[str, str]] = []
    for turn in turns:
        if turn["role"] != "system":
            exchange.append(turn)
        if turn["role"] == "assistant":
            yield exchange
            exchange = []


def _joined(row: Row, units: list[Any], task: str) -> Row:
    if task == "translation":
        text, reply = ("".join(side) for side in zip(*units, strict=True))
        return replace(row, request={**row.request, "text": text.rstrip()}, reply=reply.rstrip())
    system = [turn for turn in row.request["messages"] if turn["role"] == "system"]
    turns = [turn for unit in units for turn in unit]
    return replace(row, request={**row.request, "messages": [*system, *turns[:-1]]}, reply=turns[-1]["content"])
