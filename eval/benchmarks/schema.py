"""The file of a benchmark: where its rows are, what their columns mean, which of them are taken, what judges them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipelines.errors import InputError, nearest
from pipelines.tasks import TASKS

__all__ = ["ROW_COLUMNS", "BenchmarkFile", "parse_benchmark", "read_benchmark_file"]

ROW_COLUMNS = ("reply", "references", "id", "kind")
"""What a column can be beside a field of the request and ``facts.NAME``."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""One name or several."""


class BenchmarkFile(BaseModel):
    """A benchmark as a person writes it; two keys are enough: ``{task: translation, rows: mine.jsonl}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
    """How results name it; the file's name where it is not given."""
    version: Annotated[int, Field(ge=1)] = 1
    """Raise it whenever rows or metrics change: scores of two versions are never compared."""
    task: str
    rows: Annotated[str, Field(min_length=1)]
    """A JSONL file beside this one; ``set:NAME``, a public set as ``cinquain data fetch`` writes it; ``humaneval``
    where its package is installed; or a data set of the Hub, ``hub:org/name[@revision]``."""
    metrics: Names = ()
    """The leading one first; those of the task where none is named."""
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    columns: dict[str, Names] = Field(default_factory=dict)
    """Field of the request, ``reply``, ``references``, ``id``, ``kind`` or ``facts.NAME`` → column of the rows, or
    several, whose texts are joined. Nested columns are written with dots: ``translation.de``. What is not named is
    recognised: the task's own fields beside ``reply`` or ``references``, or a shape that the task reads."""
    values: dict[str, Any] = Field(default_factory=dict)
    """Fields of the request that the rows lack, the same for all of them."""
    where: dict[str, Names] = Field(default_factory=dict)
    """Column → values: only rows that have one of them."""
    longest: Annotated[int, Field(ge=1)] | None = None
    """Characters of the texts of a request; rows above it are not taken, nor those without a text."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Take no more rows than this: those with the smallest hashes, whatever their order in the source."""
    group: str | None = None
    """Column whose rows belong together (a document): ``held_out`` takes all of them or none."""
    held_out: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Take only this share of the groups, by the hash by which ``cinquain data prepare`` divides rows: with
    ``split: {test: 0.1}`` and the same group, it trains on none of what 0.1 takes."""
    derived: Literal["docstring_summary"] | None = None
    """Rows that are made from those of the source (``eval/benchmarks/docstrings.py``)."""
    subset: str | None = None
    """Configuration of a Hub data set."""
    split: str = "test"
    """Split of a Hub data set."""
    beside: str | None = None
    """Another configuration of the same data set with the same rows in another language; its columns are
    ``beside.NAME``."""
    rows_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Hash of the rows that must come out (``eval.benchmarks.rows_hash``); for sources that could change."""
    licence: str = ""
    origin: str = ""
    remarks: str = ""

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: str) -> str:
        if task not in TASKS:
            raise InputError("task_unknown", found=task, nearest=nearest(task, TASKS))
        return task

    @model_validator(mode="after")
    def _grouped(self) -> "BenchmarkFile":
        if self.held_out is not None and self.group is None:
            raise ValueError("held_out needs group, the column whose rows belong together")
        return self

    @model_validator(mode="after")
    def _known_columns(self) -> "BenchmarkFile":
        fields = TASKS[self.task].request_type.model_fields
        for given, known in ((self.columns, [*fields, *ROW_COLUMNS]), (self.values, list(fields))):
            for name in given:
                if name not in known and not (given is self.columns and name.startswith("facts.")):
                    raise InputError("field_unknown", task=self.task, field=name, nearest=nearest(name, known))
        return self


def read_benchmark_file(path: Path) -> BenchmarkFile:
    """Read the definition of a benchmark.

    Args:
        path: YAML file.

    Raises:
        InputError: The file cannot be read, is no benchmark, or has a key that does not exist, with the nearest names.
    """
    import yaml

    try:
        # Texts only: YAML 1.1 reads the language "no" as false, and a revision 1e10 as a number.
        data = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        problem = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        raise InputError("benchmark_unreadable", path=str(path), problem=problem) from error
    if not isinstance(data, dict):
        raise InputError("benchmark_unreadable", path=str(path), problem="it holds no keys")
    return parse_benchmark({"name": path.stem, **data}, str(path))


def parse_benchmark(data: Mapping[str, Any], path: str) -> BenchmarkFile:
    """The definition from plain data; ``path`` is what errors name."""
    try:
        return BenchmarkFile.model_validate(dict(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "benchmark"
        if first["type"] == "extra_forbidden":
            known = nearest(key, BenchmarkFile.model_fields)
            raise InputError("benchmark_key_unknown", path=path, key=key, nearest=known) from None
        if first["type"] == "missing":
            raise InputError("benchmark_key_missing", path=path, key=key) from None
        problem = first["msg"].removeprefix("Value error, ")
        found = repr(first["input"])
        found = found if len(found) <= 60 else f"{found[:57]}..."
        raise InputError("benchmark_value", path=path, key=key, problem=problem, found=found) from None
