"""What a record means: the columns of the shapes that data sets have, as a request of the task and its reply.

Each task says itself which rows it reads (``Task.from_row``). What is here adds the task's own fields beside a
``reply``, and maps the other common shapes onto what the tasks read: alpaca (instruction, input, output), chats
(``messages``, ShareGPT's ``conversations``), question and answer under several names, and pairs of languages.
``columns:`` maps everything else.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from finetune.data.chats import CHATS, exchange, turns_of
from finetune.data.config import Source
from finetune.data.pairs import as_pair
from finetune.data.records import Record
from finetune.data.row import Outcome, Row, change, drop, keep
from pipelines.errors import InputError, nearest
from pipelines.requests import TaskRequest, validate
from pipelines.tasks import TASKS, Task

__all__ = ["check_columns", "recognise"]

_GROUPS = ("doc", "document", "doc_id", "document_id", "conversation_id", "thread_id")
"""Columns that say which rows belong together, where the source names none."""

_QUESTIONS = ("prompt", "instruction", "question", "query", "input", "inputs")
_ANSWERS = ("response", "completion", "reply", "answer", "output", "target", "targets")
_NAMED_OTHERWISE = ("src_lang", "tgt_lang", "lang")


def check_columns(source: Source, task: str) -> None:
    """See that what a source maps are fields of the task, before anything is read.

    Raises:
        InputError: ``data_field_unknown``, with the nearest names; ``data_field_unmapped`` where a field that every row
            needs gets neither a column nor a value.
    """
    fields = TASKS[task].request_type.model_fields
    for given, known in ((source.columns, [*fields, "reply"]), (source.values, list(fields))):
        for name in given:
            if name not in known:
                raise InputError("data_field_unknown", task=task, field=name, nearest=nearest(name, known))
    needed = [name for name, field in fields.items() if field.is_required()]
    if "messages" not in source.columns:  # the last turn of a chat is its reply
        needed.append("reply")
    for name in needed if source.columns else []:
        if name not in source.columns and name not in source.values:
            raise InputError("data_field_unmapped", task=task, field=name)


def recognise(record: Record, source: Source, task: str) -> Outcome:
    """The step "recognise".

    Args:
        record: One that could be read.
        source: What was said of its columns.
        task: Name of the task.

    Returns:
        The row; or dropped as ``columns`` (details: ``expected`` and ``found``), ``invalid`` (the task refuses the
        values), ``reply_empty`` or ``not_unicode`` (half of a surrogate pair). A dialogue whose last turn nobody
        answered keeps the rest (``unanswered_turn``); a translation that does not say its language is taken to be in
        that of its text (``target_detected``).
    """
    data = record.data or {}
    remarks = list(record.remarks)
    try:
        request, reply = _mapped(data, source, task) if source.columns else _shaped(data, source, TASKS[task]())
        if not isinstance(reply, str) or not reply.strip():
            return drop("reply_empty")
        fields = request.model_dump(mode="json", exclude_defaults=True)
        row = Row(id=record.id, request=fields, reply=reply, group="", source=source.name)
        for text in row.texts(task):
            text.encode()
        row = Row(row.id, row.request, row.reply, _group(data, source, row, task), row.source)
        row.group.encode()
    except InputError as error:
        if error.code == "row_columns":
            return drop("columns", expected=error.parameters["expected"], found=error.parameters["found"][:40])
        return drop("not_unicode" if error.code == "text_not_unicode" else "invalid", problem=str(error))
    except UnicodeEncodeError as error:
        return drop("not_unicode", character=error.start)
    if task == "dialogue" and _unanswered(data, source):
        remarks.append("unanswered_turn")
    if task == "translation" and not source.columns and not _target_told(data, source):
        remarks.append("target_detected")
    return change(row, *remarks) if remarks else keep(row)


def _mapped(data: Mapping[str, Any], source: Source, task: str) -> tuple[TaskRequest, Any]:
    found = {field: _value(data, path) for field, path in source.columns.items()}
    if missing := [source.columns[field] for field, values in found.items() if not values]:
        raise InputError("row_columns", task=task, expected=missing, found=list(data))
    fields = {**source.values, **{field: value for field, (value,) in found.items() if value is not None}}
    if "messages" in fields and "reply" not in fields and (turns := turns_of(fields, ("messages",))):
        request, reply = TASKS[task]().from_row({**fields, "messages": turns})  # the reply is their last turn
        return request, reply
    reply = fields.pop("reply", None)
    return validate(TASKS[task].request_type, fields, task), reply


def _value(data: Any, path: str) -> tuple[Any, ...]:
    """A column, or one inside others by dots; nothing where there is none."""
    if isinstance(data, Mapping) and path in data:
        return (data[path],)
    for part in path.split("."):
        if isinstance(data, list) and part.isdecimal() and int(part) < len(data):
            data = data[int(part)]
        elif isinstance(data, Mapping) and part in data:
            data = data[part]
        else:
            return ()
    return (data,)


def _shaped(data: Mapping[str, Any], source: Source, task: Task[Any]) -> tuple[TaskRequest, Any]:
    if isinstance(data.get("request"), Mapping) and "reply" in data:  # as the preparation writes them
        request: TaskRequest = validate(task.request_type, {**data["request"], **source.values}, task.name)
        return request, data["reply"]
    fields = {name: data[name] for name in task.request_type.model_fields if data.get(name) is not None}
    if "reply" in data and fields:
        try:
            return validate(task.request_type, {**fields, **source.values}, task.name), data["reply"]
        except InputError as error:
            if error.code != "field_missing":
                raise
    hints = dict(source.values)
    if task.name == "translation":  # from_row takes ``source`` and ``target`` for the texts
        hints = {{"source": "src_lang", "target": "tgt_lang"}.get(name, name): value for name, value in hints.items()}
    problem: InputError | None = None
    for shape in _shapes(data, source, task):
        try:
            request, reply = task.from_row({**shape, **hints})
        except InputError as error:
            problem = problem if problem and problem.code != "row_columns" else error
            continue
        if not source.values:
            return request, reply
        known = {**request.model_dump(exclude_unset=True), **source.values}
        return validate(task.request_type, known, task.name), reply
    assert problem is not None
    raise problem


def _shapes(data: Mapping[str, Any], source: Source, task: Task[Any]) -> Iterator[Mapping[str, Any]]:
    """The record as it is, and as what the task reads of a known shape."""
    if task.name == "translation" and (pair := as_pair(data, source.values)):
        yield pair
    turns = turns_of(data)
    if task.name == "dialogue" and turns:
        yield {**data, "messages": turns}
    yield data
    taken = {*_QUESTIONS, *_ANSWERS, *CHATS, "source", "target", "text"}
    others = {
        name: value
        for name, value in data.items()
        if name in (*task.request_type.model_fields, *_NAMED_OTHERWISE) and name not in taken
    }
    rewrites = task.name in ("translation", "summarization")
    if isinstance(data.get("instruction"), str) and isinstance(data.get("output"), str):
        text, more = data["instruction"], data.get("input")
        more = more if isinstance(more, str) and more.strip() else None
        if not rewrites:
            asked = f"{text}\n\n{more}" if more else text
            yield {**others, "prompt": asked, "response": data["output"]}
        elif more:
            yield _rewritten(others, more, data["output"], task.name)
        return
    found = exchange(turns) or _question_and_answer(data)
    if found and rewrites:
        yield _rewritten(others, *found, task.name)
    elif found:
        yield {**others, "prompt": found[0], "response": found[1]}


def _rewritten(others: Mapping[str, Any], text: Any, reply: Any, task: str) -> Mapping[str, Any]:
    return {**others, "text": text, "translation" if task == "translation" else "summary": reply}


def _question_and_answer(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """The one column that asks and the one that answers; None where there are several of either."""
    asked = [data[name] for name in _QUESTIONS if isinstance(data.get(name), str)]
    answers = [data[name] for name in _ANSWERS if isinstance(data.get(name), str)]
    return (asked[0], answers[0]) if len(asked) == len(answers) == 1 else None


def _unanswered(data: Mapping[str, Any], source: Source) -> bool:
    if source.columns:
        mapped = {field: value for field, path in source.columns.items() for value in _value(data, path)}
        turns = turns_of(mapped, ("messages",)) if "reply" not in mapped else None
    else:
        turns = turns_of(data) if "reply" not in data else None
    return bool(turns) and turns is not None and turns[-1]["role"] == "user"


def _target_told(data: Mapping[str, Any], source: Source) -> bool:
    if "target" in source.values or isinstance(data.get("request"), Mapping) or isinstance(data.get("reply"), str):
        return True
    pair = as_pair(data, source.values) or data
    return bool(pair.get("tgt_lang")) or isinstance(pair.get("translation"), Mapping)


def _group(data: Mapping[str, Any], source: Source, row: Row, task: str) -> str:
    """What must not be divided: a document, or else all rows that ask the same."""
    if source.group:
        found = _value(data, source.group)
        if not found or found[0] is None:  # one group of all rows that lack it would be no division at all
            raise InputError("row_columns", task=task, expected=[source.group], found=list(data))
        return _short(f"{source.group}:{found[0]}")
    if isinstance(data.get("group"), str) and "request" in data:
        return data["group"]
    asked = list(row.texts(task))[:-1]
    for column in _GROUPS:
        # A set of summaries may call the text itself "document".
        if isinstance(data.get(column), str | int) and data[column] not in asked:
            return _short(f"{column}:{data[column]}")
    return "text:" + _digest("\n".join(asked))


def _short(group: str) -> str:
    if len(group) <= 200:
        return group
    return f"{group[:100]}…{_digest(group)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
