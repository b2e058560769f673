"""``cinquain data show``: a row as its model reads it, and the lengths and languages of rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from apps.cli.data_account import print_account, print_counts, print_histogram, print_languages
from apps.cli.data_inputs import Flags, single_source
from apps.cli.terminal import console, sanitize, say, to_json

if TYPE_CHECKING:
    from finetune.data.show import Piece, ShownRow, Survey

__all__ = ["show_file", "show_folder"]

_LOSS, _READ = ("bold green", "bold bright_green"), ("dim", "")
"""Styles of neighbouring pieces, in turns, so that each can be told from the next."""
_OPEN, _CLOSE = "⟦", "⟧"
"""Around what carries loss, where there are no colours. They hardly occur in texts, unlike brackets of the keyboard."""


def show_folder(folder: Path, flags: Flags, which: str | None, part: str | None, *, ids: bool, as_json: bool) -> None:
    """Show a row of a prepared data set, or its account.

    Raises:
        InputError: No result lies there, or it holds no such row.
    """
    from finetune.data.results import finished
    from pipelines.errors import InputError

    ledger = finished(folder)
    if ledger is None:
        raise InputError("data_show_no_result", path=str(folder))
    if flags.of_files:
        raise InputError("data_show_flags", options=flags.of_files, path=str(folder))
    if flags.task not in (None, ledger.task):
        raise InputError("data_show_other_task", path=str(folder), task=ledger.task, found=flags.task)
    if which is None:
        if as_json:
            typer.echo(to_json({"out": str(folder), "read": ledger.read, "kept": ledger.kept, **ledger.to_json()}))
            return
        print_account(ledger, folder)
        _print_lengths(ledger.lengths)
        print_languages(ledger.languages)
        return
    from finetune.data.rendering import Renderer
    from finetune.data.show import ShownRow, prepared_row

    found, number, row = prepared_row(folder, ledger, which, part)
    model = flags.model or str(ledger.tokens["model"])
    shown = ShownRow.of(found, number, row, Renderer.load(model, ledger.task))
    _print(shown, ledger.task, model, ids=ids, as_json=as_json)


def show_file(
    path: str, flags: Flags, which: str | None, part: str | None, records: int, *, ids: bool, as_json: bool
) -> None:
    """Show a row of a raw file, or what its first records are like.

    Raises:
        InputError: No task was named, the file cannot be read, or it holds no such row.
    """
    from finetune.data.rendering import Renderer
    from finetune.data.show import ShownRow, raw_row, survey
    from pipelines import DEFAULT_MODEL, TASKS
    from pipelines.errors import InputError, nearest

    if part:
        raise InputError("data_show_part_of_file", path=path)
    if not flags.task:
        raise InputError("data_show_task", path=path, tasks=list(TASKS))
    if flags.task not in TASKS:
        raise InputError("task_unknown", found=flags.task, nearest=nearest(flags.task, TASKS))
    model, source = flags.model or DEFAULT_MODEL, single_source(path, flags)
    if which is not None:
        number, row = raw_row(source, flags.task, which)
        shown = ShownRow.of("", number, row, Renderer.load(model, flags.task))
        _print(shown, flags.task, model, ids=ids, as_json=as_json)
        return
    found = survey(source, flags.task, Renderer.load(model, flags.task), records)
    if as_json:
        typer.echo(to_json({"path": path, "task": flags.task, "model": model, **found.to_json()}))
    else:
        _print_survey(found, path, flags.task, model)


def _print_survey(found: "Survey", path: str, task: str, model: str) -> None:
    code = "data_show_whole" if found.whole else "data_show_first"
    console().print(say(code, read=found.read, path=path, rows=found.rows, task=task), soft_wrap=True)
    print_counts(say("data_show_none"), found.dropped.most_common())
    if found.over_long:
        console().print(say("data_show_over_long", rows=found.over_long, model=model), soft_wrap=True)
    data = found.to_json()
    _print_lengths(data["lengths"])
    print_languages(data["languages"])
    console().print(say("data_show_hint"), style="dim", soft_wrap=True)


def _print_lengths(lengths: dict[str, int]) -> None:
    rows = [(f"≤ {int(size):,}", count, "") for size, count in lengths.items()]
    print_histogram(say("data_show_lengths"), rows)


def _print(shown: "ShownRow", task: str, model: str, *, ids: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(to_json({"task": task, "model": model, **shown.to_json()}))
        return
    screen = console()
    where = f"{shown.part}.jsonl" if shown.part else say("data_show_record_word")
    trained = sum(shown.rendered.labels)
    head = {"where": where, "number": shown.number, "id": shown.row.id, "model": model}
    lines = [say("data_show_head", total=shown.rendered.total, trained=trained, **head)]
    if shown.over:
        lines.append(say("data_show_over", tokens=shown.over[0], limit=shown.over[1]))
    lines += [say(f"data_means_{remark}") for remark in shown.rendered.remarks if remark in _REMARKS]
    screen.print("\n".join(lines), style="dim", soft_wrap=True)
    coloured = screen.color_system is not None and not screen.no_color
    if shown.encoder is not None:
        screen.print(say("data_show_encoder"), style="bold", soft_wrap=True)
        _print_pieces(shown.encoder, ids=ids, coloured=coloured)
        screen.print(say("data_show_decoder"), style="bold", soft_wrap=True)
    _print_pieces(shown.tokens, ids=ids, coloured=coloured)
    legend = "data_show_colours" if coloured else "data_show_plus" if ids else "data_show_marks"
    screen.print(say(legend), style="dim", soft_wrap=True)


_REMARKS = ("only_last_turn", "line_breaks_lost")


def _print_pieces(shown: Sequence["Piece"], *, ids: bool, coloured: bool) -> None:
    from rich.text import Text

    screen, text = console(), Text()
    within = False
    for place, piece in enumerate(shown):
        style = (_LOSS if piece.loss else _READ)[place % 2] if coloured else ""
        if ids:
            mark = "" if coloured else "+ " if piece.loss else "  "
            text.append(f"{mark}{' '.join(map(str, piece.ids)):>8}  {_one_line(piece.text)}\n", style)
            continue
        if not coloured and piece.loss != within:
            text.append(_CLOSE if within else _OPEN)
            within = piece.loss
        text.append(_shown(piece.text), style)
    text.append(_CLOSE if within else "")
    text.rstrip()
    screen.print(text, soft_wrap=True)


def _shown(text: str) -> str:
    """A piece within a text: its line breaks can be seen, and break the line as well."""
    from finetune.data.show import visible

    return sanitize(visible(text)).replace("\n", "↵\n")


def _one_line(text: str) -> str:
    """A piece on a line of its own."""
    shown = _shown(text).replace("\n", "").replace("\t", "→")
    return f'"{shown}"'
