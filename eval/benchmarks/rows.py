"""What a record means: the request that is asked, and what is known of a good reply."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from eval.benchmarks.definition import BenchmarkRow
from eval.benchmarks.schema import BenchmarkFile
from pipelines.errors import InputError
from pipelines.requests import TaskRequest, validate
from pipelines.tasks import TASKS, Task
from pipelines.text.languages import detect

__all__ = ["request_texts", "row_of", "rows_hash"]

_ABOUT = ("id", "kind", "group", "facts", "reply", "references", "task")
"""Columns of a row that are no fields of its request."""

_FIXED_LANGUAGE = {"translation": "target", "summarization": "language", "creative_writing": "language"}
"""Field that says the language of the reply."""


def row_of(record: Mapping[str, Any], place: str, definition: BenchmarkFile) -> BenchmarkRow:
    """A record as a row of the benchmark.

    A ``reply`` may hold code in a fence, as a model would write it; ``references`` are answers already.

    Args:
        record: Plain data.
        place: Where it stands, for the id of a row without one.
        definition: The benchmark.

    Raises:
        InputError: It has none of the shapes that the task reads, or values that the task refuses.
    """
    task = TASKS[definition.task]()
    columns = {name: _joined(record, column, name) for name, column in definition.columns.items()}
    about = {**{name: record.get(name) for name in ("id", "kind", "facts")}, **columns}
    request, references = _asked(record, columns, definition.values, task)
    fields = request.model_dump(mode="json", exclude_defaults=True)
    facts = dict(about["facts"]) if isinstance(about["facts"], Mapping) else {}
    facts |= {name.removeprefix("facts."): value for name, value in columns.items() if name.startswith("facts.")}
    if fields.get("tests"):
        facts.setdefault("tests", fields["tests"])
    said = record.get("language") if isinstance(record.get("request"), Mapping) else None
    return BenchmarkRow(
        id=str(about["id"]) if isinstance(about["id"], str | int) else place,
        request=fields,
        references=references,
        language=said if isinstance(said, str) else _language(task, request, references),
        kind=about["kind"] if isinstance(about["kind"], str) else "",
        facts=facts,
    )


def request_texts(request: Mapping[str, Any], task: str) -> Iterator[str]:
    """The texts of a request that people wrote."""
    for name in TASKS[task].text_fields:
        yield from _strings(request.get(name))


def rows_hash(rows: Iterable[BenchmarkRow]) -> str:
    """Hash over what is asked and what is known, in order; the metrics have no part in it."""
    text = json.dumps([asdict(row) for row in rows], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _asked(
    record: Mapping[str, Any], columns: Mapping[str, Any], values: Mapping[str, Any], task: Task[Any]
) -> tuple[TaskRequest, tuple[str, ...]]:
    """The request of a record, and its references."""
    fields = task.request_type.model_fields
    mapped = {name: value for name, value in columns.items() if name in fields}
    answers = {name: columns.get(name, record.get(name)) for name in ("reply", "references")}
    whole = record.get("request")
    only_facts = bool(columns) and all(name in ("id", "kind") or name.startswith("facts.") for name in columns)
    if mapped or (only_facts and values):  # the records say what is known, and every request is the same
        request = validate(task.request_type, {**values, **mapped}, task.name)
    elif isinstance(whole, Mapping):
        request = validate(task.request_type, {**values, **whole}, task.name)
    elif any(answers.values()) or _has_only_fields(record, task):
        own = {name: value for name, value in record.items() if name in fields or name not in _ABOUT}
        request = validate(task.request_type, {**values, **own}, task.name)
    else:
        request, reply = task.from_row({**values, **record})
        answers = {"reply": reply, "references": None}
    given = answers["references"]
    references = [given] if isinstance(given, str) else list(given or ())
    if not references and isinstance(answers["reply"], str) and answers["reply"].strip():
        reply = answers["reply"]
        # Code without its fence, a body with its signature; what parsing does to other replies could spoil good ones.
        references = [task.parse(reply, request) if task.name == "code_generation" else reply]
    for text in references:
        if not isinstance(text, str) or not text.strip():
            raise InputError("text_empty", field="references")
    return request, tuple(references)


def _has_only_fields(record: Mapping[str, Any], task: Task[Any]) -> bool:
    """Whether these are fields of the task without an answer, as ``{"brief": …}``."""
    fields = task.request_type.model_fields
    if set(record) - set(fields) - set(_ABOUT) - {"language"}:
        return False
    try:
        task.from_row(record)
    except InputError:
        return True
    return False


def _joined(record: Mapping[str, Any], columns: tuple[str, ...], name: str) -> Any:
    """The value of a column; several, and lists of texts but for references, become one text."""
    found = [_value(record, column) for column in columns]
    if name == "references" or (len(found) == 1 and not _texts(found[0])):
        return found[0]
    lines = [line for each in found for line in (each if isinstance(each, list) else [each])]
    return ("/" if name == "id" else "\n").join(str(line) for line in lines if line not in (None, ""))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _value(record: Mapping[str, Any], column: str) -> Any:
    """A column, nested ones by dots.

    Raises:
        InputError: ``benchmark_column``: there is none of that name.
    """
    if column in record:
        return record[column]
    value: Any = record
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise InputError("benchmark_column", column=column, found=list(record)[:40])
        value = value[part]
    return value


def _language(task: Task[Any], request: TaskRequest, references: tuple[str, ...]) -> str:
    """Tag of the language in which the reply should be."""
    own = getattr(request, _FIXED_LANGUAGE.get(task.name, ""), None)
    if own:
        return str(own)
    texts = references or tuple(request_texts(request.model_dump(mode="json"), task.name))[-1:]
    found = detect(texts[0]) if texts and task.name != "code_generation" else None
    return found[0] if found else "en"


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if key != "role":
                yield from _strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)
