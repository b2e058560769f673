"""Requests: what a person may ask of a task, checked before anything runs."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo

from pipelines.errors import InputError, nearest
from pipelines.generation import GenerationOptions

__all__ = ["MAX_CHARACTERS", "TaskRequest", "Text", "split_options", "validate"]

MAX_CHARACTERS = 2_000_000
"""Longest text of one request: about 1,000 pages. More is a batch, not a request: at the embedded model's speed on two
cores it would run for hours before the first word, which is never what was meant."""


def _checked_text(text: str, info: ValidationInfo) -> str:
    field = info.field_name or "text"
    if not text.strip():
        raise InputError("text_empty", field=field)
    if len(text) > MAX_CHARACTERS:
        raise InputError("text_too_large", field=field, characters=len(text), limit=MAX_CHARACTERS)
    try:
        text.encode()
    except UnicodeEncodeError as error:  # a lone surrogate: no tokenizer can read it
        raise InputError("text_not_unicode", field=field, position=error.start) from None
    return text


Text = Annotated[str, AfterValidator(_checked_text)]
"""A text that a model will read: not blank, valid Unicode, at most MAX_CHARACTERS long."""


class TaskRequest(BaseModel):
    """Base of the tasks' requests: unknown fields are errors, values cannot change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


RequestT = TypeVar("RequestT", bound=BaseModel)


def validate(request_type: type[RequestT], fields: Mapping[str, Any], task: str) -> RequestT:
    """Build a request from plain fields.

    Raises:
        InputError: One sentence about the first field that is wrong, with the valid names or values.
    """
    try:
        return request_type.model_validate(dict(fields))
    except ValidationError as error:
        raise _translated(error, request_type, task) from None


def split_options(
    request_type: type[BaseModel], keywords: Mapping[str, Any], task: str
) -> tuple[dict[str, Any], GenerationOptions]:
    """Part the keywords of a pipeline call into request fields and generation options.

    Raises:
        InputError: For a keyword that is neither, with the nearest names, or for an invalid option.
    """
    fields: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, value in keywords.items():
        if name in request_type.model_fields:
            fields[name] = value
        elif name in GenerationOptions.model_fields:
            options[name] = value
        else:
            known = [*request_type.model_fields, *GenerationOptions.model_fields]
            raise InputError("field_unknown", task=task, field=name, nearest=nearest(name, known))
    return fields, validate(GenerationOptions, options, task)


def _translated(error: ValidationError, request_type: type[BaseModel], task: str) -> InputError:
    """The first of pydantic's complaints as one of our sentences."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "request"
    if first["type"] == "extra_forbidden":
        known = list(request_type.model_fields)
        return InputError("field_unknown", task=task, field=field, nearest=nearest(field, known))
    if first["type"] == "missing":
        return InputError("field_missing", task=task, field=field)
    found = repr(first["input"])
    found = found if len(found) <= 60 else found[:57] + "..."
    if first["type"] in ("literal_error", "enum"):
        return InputError("field_choice", field=field, choices=first["ctx"]["expected"], found=found)
    return InputError("field_invalid", field=field, problem=first["msg"], found=found)
