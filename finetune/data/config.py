"""What a person may say about the preparation of data: the ``data:`` part of a recipe, and its own file."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipelines.errors import InputError, nearest
from pipelines.tasks import TASKS

__all__ = ["DataConfig", "Duplicates", "Lengths", "Source", "Split"]

Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """Where rows come from, and what their columns mean."""

    path: str
    """A file; a data set of the Hub, ``hub:org/name[@revision]``; or the training set of a task that ships with
    Cinquain, ``shipped:translation``."""
    name: str = ""
    """How the ledger calls it; the file's name where it is empty."""
    format: Literal["auto", "jsonl", "json", "csv", "parquet", "text", "hub"] = "auto"
    """``auto`` goes by the file's ending, ``.gz`` after it included."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Field of the task, or ``reply`` → column of the rows. Nested columns are written with dots: ``meta.lang``.
    Without it the known shapes are recognised."""
    values: dict[str, Any] = Field(default_factory=dict)
    """Fields of the task that the rows lack, the same for all of them: ``{target: fr}``."""
    group: str | None = None
    """Column whose rows belong together (a document): they never straddle train and test."""
    use: Literal["split", "train", "validation", "test"] = "split"
    """Which part its rows go to; ``split`` divides them."""
    weight: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0
    """How often each of its training rows appears: 2 writes them twice, 0.5 takes every second one, by its hash."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Read no more records than this."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Of a CSV file; found out where it is not given."""
    encoding: str | None = None
    """Of a file of text; found out where it is not given, but JSONL is taken for UTF-8."""
    subset: str | None = None
    """Configuration of a Hub data set."""
    hub_split: str = "train"
    """Split of a Hub data set."""


class Lengths(_Strict):
    """Rows outside these bounds are dropped."""

    min_characters: Annotated[int, Field(ge=1)] = 1
    """Of the request's texts together, and of the reply."""
    max_characters: Annotated[int, Field(ge=1)] = 2_000_000
    """Of the whole row; what a task accepts as one request."""
    max_ratio: Annotated[float, Field(gt=1.0)] | None = None
    """Translation only: the longer text may be this many times as long as the shorter one, by UTF-8 bytes; texts under
    20 bytes are left alone. None takes 4."""


class Duplicates(_Strict):
    """Rows that stand there more than once; the first one stays."""

    exact: bool = True
    """The same texts, up to case, width and blank space."""
    near: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.85
    """Estimated Jaccard similarity of character 5-grams from which two rows count as one; None turns it off."""


class Split(_Strict):
    """How rows are divided. A row's group decides by its hash: more rows later move none of the earlier ones."""

    validation: Share = 0.05
    test: Share = 0.0
    seed: int = 0


class DataConfig(_Strict):
    """Rows in, and what is done with them.

    In this order: read, recognise, repair, normalize, lengths, language, personal data, overlap, too long, exact
    duplicates, near duplicates, split, held-out groups, weights.
    """

    task: str
    sources: Annotated[list[Source], Field(min_length=1)]
    model: str = "smollm2-135m"
    """The model that will read the rows: its tokenizer counts them, its chat template wraps them."""
    max_tokens: Annotated[int, Field(ge=16)] | None = None
    """Longest row; the model's context where None."""
    too_long: Literal["error", "split", "drop"] = "error"
    repair: bool = True
    """Undo broken encodings (ftfy)."""
    normalize: bool = True
    """NFC, line breaks, control characters, blank space at the ends."""
    lengths: Lengths | None = Lengths()
    language: bool = True
    """Drop rows whose text is surely in another language than their fields say."""
    languages: list[str] = Field(default_factory=list)
    """Where given: drop rows whose reply is surely in none of these."""
    personal_data: Literal["redact", "drop", "keep"] = "redact"
    names: bool = False
    """Redact given names, too, by a list: finds many that are none."""
    overlap: list[str] = Field(default_factory=list)
    """Benchmark rows that must not be trained on: files of the formats above; ``humaneval`` where its package is
    installed."""
    duplicates: Duplicates = Duplicates()
    split: Split = Split()

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: str) -> str:
        if task not in TASKS:
            raise InputError("task_unknown", found=task, nearest=nearest(task, TASKS))
        return task
