"""What a record means: the columns of the shapes that data sets have, as a request of the task and its reply.

Each task says itself which rows it reads (``Task.from_row``). What is here maps the other common shapes onto those:
alpaca (instruction, input, output), chats (``messages``, ShareGPT's ``conversations``), prompt and response; and
``columns:`` maps everything else.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from finetune.data.config import Source
from finetune.data.records import Record
from finetune.data.row import Outcome, Row, change, drop, keep
from pipelines.errors import InputError, nearest
from pipelines.requests import TaskRequest, validate
from pipelines.tasks import TASKS, Task

__all__ = ["check_columns", "recognise"]

_GROUPS = ("doc", "document", "doc_id", "document_id", "conversation_id", "thread_id")
"""Columns that say which rows belong together, where the source names none."""

_CHATS = ("messages", "conversations", "turns")
_SINGLE = ("translation", "summarization", "code_generation", "creative_writing")


def check_columns(source: Source, task: str) -> None:
    """See that what a source maps are fields of the task, before anything is read.

    Raises:
        InputError: ``data_field_unknown``, with the nearest names.
    """
    fields = [*TASKS[task].request_type.model_fields, "reply"]
    for name in (*source.columns, *source.values):
        if name not in fields:
            raise InputError("data_field_unknown", task=task, field=name, nearest=nearest(name, fields))


def recognise(record: Record, source: Source, task: str) -> Outcome:
    """The step "recognise".

    Args:
        record: One that could be read.
        source: What was said of its columns.
        task: Name of the task.

    Returns:
        The row; or dropped as ``columns`` (details: ``expected`` and ``found``), ``invalid`` (the task refuses the
        values) or ``not_unicode`` (half of a surrogate pair). A dialogue whose last turn nobody answered keeps the rest
        (``unanswered_turn``).
    """
    data = record.data or {}
    try:
        request, reply = _mapped(data, source, task) if source.columns else _shaped(data, source, TASKS[task]())
        if not isinstance(reply, str) or not reply.strip():
            return drop("reply_empty")
        row = Row(
            id=record.id,
            request=request.model_dump(mode="json", exclude_defaults=True),
            reply=reply,
            group="",
            source=source.name,
        )
        for text in row.texts(task):
            text.encode()
    except InputError as error:
        if error.code in ("row_columns", "field_missing"):
            return drop("columns", expected=error.parameters.get("expected", ""), found=list(data)[:40])
        return drop("not_unicode" if error.code == "text_not_unicode" else "invalid", problem=str(error))
    except UnicodeEncodeError as error:
        return drop("not_unicode", character=error.start)
    except RecursionError:
        return drop("invalid", problem="its values are nested too deeply")
    row = Row(row.id, row.request, row.reply, _group(data, source, row, task), row.source)
    return change(row, "unanswered_turn") if task == "dialogue" and _unanswered(data) else keep(row)


def _mapped(data: Mapping[str, Any], source: Source, task: str) -> tuple[TaskRequest, Any]:
    values = {field: _value(data, path) for field, path in source.columns.items()}
    if missing := [source.columns[field] for field, value in values.items() if value is None]:
        raise InputError("row_columns", task=task, expected=missing, found=list(data))
    reply = values.pop("reply", source.values.get("reply"))
    fields = {**{name: value for name, value in source.values.items() if name != "reply"}, **values}
    request: TaskRequest = validate(TASKS[task].request_type, fields, task)
    return request, reply


def _value(data: Any, path: str) -> Any:
    """A column, or one inside others by dots."""
    if isinstance(data, Mapping) and path in data:
        return data[path]
    for part in path.split("."):
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def _shaped(data: Mapping[str, Any], source: Source, task: Task[Any]) -> tuple[TaskRequest, Any]:
    if isinstance(data.get("request"), Mapping) and "reply" in data:  # as the preparation writes them
        request: TaskRequest = validate(task.request_type, {**data["request"], **source.values}, task.name)
        return request, data["reply"]
    hints = dict(source.values)
    if task.name == "translation":  # from_row takes ``source`` and ``target`` for the texts
        hints = {{"source": "src_lang", "target": "tgt_lang"}.get(name, name): value for name, value in hints.items()}
    problem: InputError | None = None
    for shape in _shapes(data, task.name):
        try:
            request, reply = task.from_row({**shape, **hints})
        except InputError as error:
            problem = problem if problem and problem.code != "row_columns" else error
            continue
        if not source.values:
            return request, reply
        fields = {**request.model_dump(exclude_unset=True), **source.values}
        return validate(task.request_type, fields, task.name), reply
    assert problem is not None
    raise problem


def _shapes(data: Mapping[str, Any], task: str) -> list[Mapping[str, Any]]:
    """The record as it is, and as what the task reads of a known shape."""
    shapes: list[Mapping[str, Any]] = [data]
    others = {
        name: value for name, value in data.items() if name in ("src_lang", "tgt_lang", "lang", "language", "length")
    }
    if isinstance(data.get("instruction"), str) and isinstance(data.get("output"), str):
        text, more = data["instruction"], data.get("input")
        asked = f"{text}\n\n{more}" if isinstance(more, str) and more.strip() else text
        if task not in ("translation", "summarization"):
            shapes.append({**others, "prompt": asked, "response": data["output"]})
        elif asked is not text:
            shapes.append(_pair(others, more, data["output"], task))
    exchange = _exchange(data) or _exchange_of(data, "prompt", ("response", "completion"))
    if exchange and task in ("translation", "summarization"):
        shapes.append(_pair(others, *exchange, task))
    elif exchange:
        shapes.append({**others, "prompt": exchange[0], "response": exchange[1]})
    return shapes


def _pair(others: Mapping[str, Any], text: Any, reply: Any, task: str) -> Mapping[str, Any]:
    return {**others, "text": text, "translation" if task == "translation" else "summary": reply}


def _exchange(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """Question and answer of a chat that is no more than that; a system message before it is not the task's."""
    for column in _CHATS:
        turns = data.get(column)
        if isinstance(turns, list) and all(isinstance(turn, Mapping) for turn in turns):
            said = [(turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))) for turn in turns]
            said = [(role, text) for role, text in said if role != "system"]
            if len(said) == 2 and said[0][0] in ("user", "human") and said[1][0] in ("assistant", "gpt", "model"):
                return said[0][1], said[1][1]
    return None


def _exchange_of(data: Mapping[str, Any], asked: str, answers: tuple[str, ...]) -> tuple[str, str] | None:
    for answer in answers:
        if isinstance(data.get(asked), str) and isinstance(data.get(answer), str):
            return data[asked], data[answer]
    return None


def _unanswered(data: Mapping[str, Any]) -> bool:
    turns: list[Any] = next(
        (data[column] for column in _CHATS if isinstance(data.get(column), list) and data[column]), []
    )
    last = turns[-1] if turns else {}
    return isinstance(last, Mapping) and last.get("role", last.get("from")) in ("user", "human")


def _group(data: Mapping[str, Any], source: Source, row: Row, task: str) -> str:
    """What must not be divided: a document, or else all rows that ask the same."""
    if source.group:
        return f"{source.group}:{_value(data, source.group)}"
    if isinstance(data.get("group"), str) and "request" in data:
        return data["group"]
    for column in _GROUPS:
        if isinstance(data.get(column), str | int):
            return f"{column}:{data[column]}"
    asked = "\n".join(text for text in list(row.texts(task))[:-1])
    return f"text:{hashlib.sha256(asked.encode()).hexdigest()[:16]}"
