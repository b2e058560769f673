"""Families of encoder–decoder models: what each can do, how it names languages, how it is asked."""

from pipelines.models.families.advice import Advice, advice_for
from pipelines.models.families.family import INSTRUCTION_TEMPLATE, Family, Reading
from pipelines.models.families.known import MODEL_TYPES, find_family
from pipelines.models.families.limits import Limits, limits_of

__all__ = [
    "INSTRUCTION_TEMPLATE",
    "MODEL_TYPES",
    "Advice",
    "Family",
    "Limits",
    "Reading",
    "advice_for",
    "find_family",
    "limits_of",
]
