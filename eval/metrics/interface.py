"""Our metrics on the interface of Hugging Face's ``evaluate``: ``load("eval/metrics/chrf").compute(predictions=…)``.

``evaluate`` itself supplies no metric. What it does wrong is mended here: it checks the first row only and turns the
others into text, leaves users' texts readable by all where a metric fails, and looks for modules on the Hub.

Importing this module takes seconds, as ``evaluate`` loads most of transformers.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

os.environ.setdefault("HF_EVALUATE_OFFLINE", "1")  # it is read once, when evaluate is imported

import datasets
import evaluate  # type: ignore[import-untyped]
from pydantic import TypeAdapter, ValidationError

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics import named
from eval.metrics.base import check_rows
from pipelines.errors import InputError
from pipelines.home import disk_errors, home
from pipelines.text.conversation import Turn

__all__ = ["COLUMNS", "RowMetric", "load_module", "private_cache"]

_TEXT, _TEXTS = datasets.Value("string"), datasets.List(datasets.Value("string"))
COLUMNS: dict[str, tuple[Any, TypeAdapter[Any]]] = {
    "references": (_TEXTS, TypeAdapter(str | tuple[str, ...])),
    "sources": (_TEXT, TypeAdapter(str)),
    "conversations": (datasets.List({"role": _TEXT, "content": _TEXT}), TypeAdapter(tuple[Turn, ...])),
    "keywords": (_TEXTS, TypeAdapter(tuple[str, ...])),
    "forms": (_TEXT, TypeAdapter(str)),
    "tests": (_TEXT, TypeAdapter(str)),
}
"""What a metric may want beside the predictions: good replies to each row, the text that was translated or summarized,
the turns before the reply, what it must mention, its form, tests of a program. For each, how ``datasets`` stores an
entry and how it is checked."""


class RowMetric(evaluate.Metric):
    """A metric of ours as a module of ``evaluate``; a subclass gives its key and its columns.

    ``compute`` takes ``predictions``, the columns (all of the same length) and ``language``: a tag for all rows, or
    one for each. It returns the score under the metric's key, its ``signature``, and ``rows``: the score of each alone.

    Attributes:
        key: Of the metric, as ``eval.metrics.named`` takes it.
        columns: Those of ``COLUMNS`` that it looks at.
    """

    key: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config_name: str | None = None, **options: Any) -> None:
        options["keep_in_memory"] = options.get("num_process", 1) == 1  # several processes meet in files
        options["cache_dir"] = options.get("cache_dir") or private_cache()
        options["seed"] = options.get("seed") or 0  # by default it is taken from numpy's state
        super().__init__(config_name, **options)

    def _info(self) -> Any:
        features = {"predictions": _TEXT, **{name: COLUMNS[name][0] for name in self.columns}}
        usage = RowMetric.__doc__ or ""  # there is none under `python -OO`
        return evaluate.MetricInfo(
            description=self.__doc__ or self.key,
            citation="",
            inputs_description=usage,
            features=datasets.Features(features),
        )

    def add(self, *, prediction: Any = None, reference: Any = None, **columns: Any) -> None:
        """Add one row; the columns are named as for ``compute``.

        Raises:
            InputError: As for ``add_batch``.
        """
        references = None if reference is None else [reference]
        lists = {name: [entry] for name, entry in columns.items()}
        self.add_batch(predictions=[prediction], references=references, **lists)

    def add_batch(self, *, predictions: Any = None, references: Any = None, **columns: Any) -> None:
        """Add rows, and look at every one of them.

        Raises:
            InputError: ``metric_columns`` for a column too few or too many, ``metric_column`` for an entry of another
                kind; as for ``Metric.statistics``.
        """
        given = columns if references is None else {"references": references, **columns}
        if set(given) != set(self.columns):
            raise InputError("metric_columns", metric=self.key, expected=list(self.columns), found=list(given))
        replies = predictions if isinstance(predictions, str) else list(predictions)
        checked = {name: _checked(name, entries, len(replies)) for name, entries in given.items()}
        check_rows(replies, _rows(len(replies), checked), references="references" in self.columns)
        super().add_batch(predictions=_encodable(replies), **_encodable(checked))

    def compute(self, *, predictions: Any = None, references: Any = None, **options: Any) -> Any:
        """Score the rows that were added and these.

        Raises:
            InputError: As for ``add_batch``; ``metric_rows`` where there is no row.
        """
        given = {name: options.pop(name) for name in self.columns if name in options}
        if predictions is not None:
            self.add_batch(predictions=predictions, references=references, **given)
        if not len(self):
            raise InputError("metric_rows", replies=0, rows=0)
        return super().compute(**options)

    def _compute(self, predictions: list[str], language: str | Sequence[str] = "en", **columns: Any) -> dict[str, Any]:
        metric = named(self.key)
        found = metric.statistics(predictions, _rows(len(predictions), columns, language))
        alone = [metric.of_sum(row) for row in found]
        return {self.key: metric.of_sum(found.sum(axis=0)), "signature": metric.signature, "rows": alone}


def load_module(script: Path) -> Any:
    """An instance of the metric in a file, which is executed: in memory, with a fixed seed."""
    module = evaluate.load(str(script.resolve()), keep_in_memory=True, cache_dir=private_cache())
    module.seed = 0  # by default it is taken from numpy's state
    return module


def private_cache() -> str:
    """A folder that only its owner reads, where ``evaluate`` keeps what it does not hold in memory.

    Raises:
        CinquainError: The disk does not let us.
    """
    folder = home() / "evaluate"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return str(folder)


def _checked(name: str, entries: Any, count: int) -> list[Any]:
    """The entries of a column as plain data.

    ``evaluate`` checks the first one, and makes of a later "yy" where a list is wanted the list ["y", "y"].
    """
    entries = [entries] if isinstance(entries, str) else list(entries)
    if len(entries) != count:
        raise InputError("metric_rows", replies=count, rows=len(entries))
    adapter, found = COLUMNS[name][1], []
    for number, entry in enumerate(entries, 1):
        try:
            value = adapter.dump_python(adapter.validate_python(entry), mode="json")
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            raise InputError("metric_column", row=number, column=name, problem=problem) from None
        found.append([value] if name == "references" and isinstance(value, str) else value)
    return found


def _rows(count: int, columns: Mapping[str, Any], language: str | Sequence[str] = "en") -> list[BenchmarkRow]:
    languages = [language] * count if isinstance(language, str) else language
    if len(languages) != count:
        raise InputError("metric_rows", replies=count, rows=len(languages))
    found = []
    for place, tag in enumerate(languages):
        entry = {name: entries[place] for name, entries in columns.items()}
        request = {"text": "sources", "messages": "conversations", "form": "forms"}
        found.append(
            BenchmarkRow(
                str(place + 1),
                {field: entry[name] for field, name in request.items() if name in entry},
                tuple(entry.get("references", ())),
                tag,
                facts={name: entry[name] for name in ("keywords", "tests") if name in entry},
            )
        )
    return found


def _encodable(data: Any) -> Any:
    """Without lone surrogates, which a model may write and Arrow refuses without saying where."""
    if isinstance(data, str):
        return data.encode("utf-8", "replace").decode()
    if isinstance(data, Mapping):
        return {key: _encodable(value) for key, value in data.items()}
    return [_encodable(value) for value in data]
