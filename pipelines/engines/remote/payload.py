"""What a server is asked with: the few fields that every OpenAI-compatible server takes, less those it has refused."""

from dataclasses import dataclass, field
from typing import Any

from pipelines.engines.base import Call
from pipelines.generation import Note

__all__ = ["Known", "fields_of", "notes_on"]

MAX_STOPS = 4
"""Stop strings that are sent: OpenAI refuses more. All of them are looked for in the reply."""


@dataclass
class Known:
    """What one engine has learned of its server; shared by all of its requests.

    Attributes:
        refused: Fields that the server takes no longer.
        answered: Whether it has ever answered a request.
        pause_until: Until when, on the clock of ``time.monotonic``, it asked to be left alone.
        models: Names that it gave for the model that answered.
        fingerprints: Its marks of the configuration that answered.
    """

    refused: set[str] = field(default_factory=set)
    answered: bool = False
    pause_until: float = 0.0
    models: set[str] = field(default_factory=set)
    fingerprints: set[str] = field(default_factory=set)


def fields_of(call: Call, known: Known) -> dict[str, Any]:
    """The fields beside ``model`` and ``messages`` that a call is sent with."""
    options = call.options
    fields: dict[str, Any] = {
        "max_tokens": options.max_new_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p if options.temperature else None,  # nothing is sampled at 0
        "seed": options.seed if options.temperature else None,
        "stop": list(options.stop[:MAX_STOPS]) or None,
        "stream_options": {"include_usage": True},
    }
    if "max_tokens" in known.refused:  # its newer name, which OpenAI's reasoning models insist on
        fields["max_completion_tokens"] = fields["max_tokens"]
    return {name: value for name, value in fields.items() if value is not None and name not in known.refused}


def notes_on(call: Call, known: Known) -> list[Note]:
    """What of a call's options the server did not follow."""
    options = call.options
    notes = []
    asked = {"temperature": options.temperature, "top_p": options.top_p, "seed": options.seed}
    if not options.temperature:
        del asked["top_p"], asked["seed"]
    if names := [name for name, value in asked.items() if value is not None and name in known.refused]:
        notes.append(Note("remote_field_refused", {"names": names}))
    if {"max_tokens", "max_completion_tokens"} <= known.refused:
        notes.append(Note("remote_limit_refused", {"tokens": options.max_new_tokens}))
    if _penalty_was_asked(call):
        notes.append(Note("remote_without_penalty", {"penalty": options.repetition_penalty}))
    return notes


def _penalty_was_asked(call: Call) -> bool:
    """Whether a person set a repetition penalty, which this interface has no field for.

    The tasks' own defaults are there for small models, and are left out without a word.
    """
    from pipelines.tasks import TASKS

    penalty = call.options.repetition_penalty
    usual = TASKS[call.task].defaults.repetition_penalty if call.task in TASKS else None
    return penalty not in (None, 1.0, usual)
