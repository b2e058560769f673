"""A report: runs with their scores and comparisons, as data, as the Hub's YAML, and as Markdown for a model card.

The page for a browser is made in ``eval.page``. Numbers are computed from the records when the report is made.
"""

import math
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from eval.benchmarks import Benchmark
from eval.comparing import RunComparison, compare
from eval.contamination import Contamination, contamination
from eval.floor import Floor, floor
from eval.records import Run
from eval.scoring import MetricScore, Score, Scores, answered, plain, score
from eval.statistics import ROUNDS, Interval
from pipelines.errors import InputError
from pipelines.generation import Note
from pipelines.wording import sentence

__all__ = [
    "Report",
    "Section",
    "arrow",
    "bracketed",
    "facts",
    "flat",
    "hub_yaml",
    "labels",
    "markdown",
    "number",
    "report",
    "to_json",
]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Section:
    """One run of a report."""

    run: Run
    benchmark: Benchmark
    scores: Scores
    contamination: tuple[Contamination, ...] = ()
    """What its benchmark shares with rows that were trained on, of each ledger that was named."""


@dataclass(frozen=True)
class Report:
    """What is reported.

    Attributes:
        sections: Each run, in the order given.
        comparisons: Of the runs of the same benchmark: each with the first of them.
        labels: What a run is called, by its folder.
        commands: What makes the runs and this report again.
    """

    sections: tuple[Section, ...]
    comparisons: tuple[RunComparison, ...]
    labels: dict[Path, str]
    commands: tuple[str, ...]

    def label(self, run: Run) -> str:
        """What the report calls a run."""
        return self.labels[run.folder]

    def public(self) -> "Report":
        """The same report without the texts that notes quote from a benchmark."""
        sections = []
        for section in self.sections:
            notes = tuple(
                replace(note, parameters={**note.parameters, "reply": "…"}) if "reply" in note.parameters else note
                for note in section.scores.notes
            )
            sections.append(replace(section, scores=replace(section.scores, notes=notes)))
        return replace(self, sections=tuple(sections))


def report(
    runs: Sequence[Run],
    benchmark_of: Callable[[Run], Benchmark],
    command: Sequence[str],
    trained_on: Sequence[Path] = (),
) -> Report:
    """Score runs, and compare those of the same benchmark.

    Args:
        runs: At least one.
        benchmark_of: Gives the benchmark that a run was of.
        command: Words of the command line that makes this report again.
        trained_on: Folders of prepared rows that a model learned from: benchmarks are looked for in them.

    Raises:
        InputError: As for ``eval.scoring.score`` and ``eval.comparing.compare``.
    """
    sections = []
    together: dict[str, list[Section]] = {}
    floors: dict[tuple[str, ...], Floor] = {}
    shared: dict[str, tuple[Contamination, ...]] = {}
    for run in runs:
        benchmark = benchmark_of(run)
        rows = answered((run,), benchmark)
        key = (run.benchmark_sha256, *(row.id for row in rows))
        if key not in floors:
            floors[key] = floor(benchmark, rows)
        if benchmark.sha256 not in shared:
            shared[benchmark.sha256] = tuple(contamination(benchmark, folder) for folder in trained_on)
        looked = shared[benchmark.sha256]
        scores = score(run, benchmark, below=floors[key])
        scores = replace(scores, notes=(*(each.note for each in looked), *scores.notes))
        sections.append(Section(run, benchmark, scores, looked))
        together.setdefault(run.benchmark_sha256, []).append(sections[-1])
    comparisons: list[RunComparison] = []
    for alike in together.values():
        if len(alike) > 1:
            comparisons += compare([section.run for section in alike], alike[0].benchmark)
    asked = dict.fromkeys(str(run.provenance["command"]) for run in runs if run.provenance.get("command"))
    names = dict(zip((run.folder for run in runs), labels(runs), strict=True))
    return Report(tuple(sections), tuple(comparisons), names, (*asked, shlex.join(command)))


def to_json(found: Report, *, texts: bool = True) -> dict[str, Any]:
    """Plain JSON data.

    Args:
        found: The report.
        texts: Whether it may hold what models said.
    """
    found = found if texts else found.public()
    sections = []
    for section in found.sections:
        run = section.run
        sections.append(
            {
                "folder": str(run.folder),
                "benchmark": run.benchmark,
                "version": run.version,
                "benchmark_sha256": run.benchmark_sha256,
                "identity": run.identity,
                "provenance": run.provenance,
                "costs": run.costs,
                "scores": section.scores.to_json(),
                "contamination": [asdict(each) for each in section.contamination],
                **({"records": [asdict(record) for record in run.records]} if texts else {}),
            }
        )
    comparisons = [comparison.to_json(texts=texts) for comparison in found.comparisons]
    data: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "commands": list(found.commands),
            "runs": sections,
            "comparisons": comparisons,
        }
    )
    return data


def hub_yaml(found: Report, dataset: str | None) -> str:
    """Entries for ``.eval_results/<name>.yaml`` of a model repository on the Hub: the leading metric of each run.

    Args:
        found: The report.
        dataset: The data set on the Hub that the benchmark belongs to; the format demands one.

    Raises:
        InputError: ``eval_report_dataset`` without a data set, ``eval_report_one_model`` where a benchmark was run
            more than once, as the file speaks of one model.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    if dataset is None or "/" not in dataset:
        raise InputError("eval_report_dataset")
    if found.comparisons:
        raise InputError("eval_report_one_model", benchmark=found.comparisons[0].first.benchmark)
    entries = []
    for section in found.sections:
        leading = section.scores.metrics[0]
        remarks = (
            leading.signature,
            f"{leading.total.rows} rows, 95 % interval {bracketed(leading.total.interval)}",
            f"version {section.benchmark.version}, sha256 {section.run.benchmark_sha256[:16]}",
            "Cinquain",
        )
        value, name = plain(round(leading.total.value, 4)), section.benchmark.name
        date, notes = section.run.provenance.get("date"), "; ".join(remarks)
        entries.append(EvalResultEntry(dataset_id=dataset, task_id=name, value=value, date=date, notes=notes))
    return str(yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True))


def markdown(found: Report, language: str = "en") -> str:
    """Markdown for a README or a model card: numbers only, so that it can be published."""

    def say(name: str, **parameters: Any) -> str:
        return sentence(Note(f"eval_report_{name}", parameters), language)

    found = found.public()
    lines: list[str] = []
    for section in found.sections:
        benchmark, scores = section.benchmark, section.scores
        baselines = list(scores.metrics[0].baselines)
        lines += [f"## {_cell(found.label(section.run))}: {_cell(benchmark.name)}@{benchmark.version}", ""]
        head = (say("metric"), say("score"), say("interval"), say("rows"), *(say(f"free_{kind}") for kind in baselines))
        lines += _table(head, [_row(metric, baselines) for metric in scores.metrics])
        if kinds := scores.metrics[0].kinds:
            lines += [say("by_kind", metric=_cell(scores.metrics[0].name)), ""]
            rows = [(kind or "–", *_figures(part)) for kind, part in kinds.items()]
            lines += _table((say("kind"), say("score"), say("interval"), say("rows")), rows)
        lines += [*(f"- {_plain(sentence(note, language))}" for note in scores.notes), ""]
    for comparison in found.comparisons:
        names = {"first": found.label(comparison.first), "second": found.label(comparison.second)}
        lines += [f"## {_plain(say('against', **names))}", ""]
        lines += [*(f"- {_plain(sentence(metric.note, language))}" for metric in comparison.metrics)]
        lines += [f"- {say('changed', better=comparison.better, worse=comparison.worse)}", ""]
    lines += [say("origin"), ""]
    for section in found.sections:
        lines += _table((_cell(found.label(section.run)), ""), facts(section))
    return "\n".join([*lines, say("again"), "", "```bash", *map(_fenced, found.commands), "```", ""])


def labels(runs: Sequence[Run]) -> list[str]:
    """What reports call runs: model and adapter; with the end of the folder's name where that is not enough."""
    found = []
    for run in runs:
        engine = run.provenance.get("engine", {})
        names = [str(engine.get("model") or engine.get("engine") or run.folder.name), str(engine.get("adapter") or "")]
        found.append(" + ".join(name.rstrip("/").rpartition("/")[2] for name in names if name))
    counts = Counter(found)
    return [
        name if counts[name] == 1 else f"{name} ({run.folder.name[-6:]})" for name, run in zip(found, runs, strict=True)
    ]


def facts(section: Section) -> list[tuple[str, str]]:
    """Where the numbers of a run come from, as (name, value) pairs."""
    run, benchmark = section.run, section.benchmark
    found = {
        "benchmark": f"{benchmark.name}@{benchmark.version}",
        "benchmark_sha256": run.benchmark_sha256,
        "licence": benchmark.licence,
        "origin": benchmark.origin,
    }
    names = {**found, **run.identity, **run.provenance, "resampling": {"seed": 0, "rounds": ROUNDS}}
    return [*flat(names), *((metric.name, metric.signature) for metric in section.scores.metrics)]


def number(value: float) -> str:
    """A score as reports show it."""
    return f"{value:.2f}" if math.isfinite(value) else "–"


def bracketed(interval: Interval) -> str:
    """An interval as reports show it."""
    return f"[{number(interval.low)}, {number(interval.high)}]" if math.isfinite(interval.low) else number(math.nan)


def arrow(higher_is_better: bool | None) -> str:
    """Which way is better; nothing where the metric only describes."""
    return "" if higher_is_better is None else "↑" if higher_is_better else "↓"


def flat(data: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested data as (dotted name, value) pairs, what is empty left out."""
    if isinstance(data, dict):
        return [pair for key, value in data.items() for pair in flat(value, f"{name}.{key}" if name else str(key))]
    if isinstance(data, list | tuple):
        data = " ".join(map(str, data))
    return [] if data is None or data == "" else [(name, str(data))]


def _row(metric: MetricScore, baselines: Sequence[str]) -> tuple[str, ...]:
    return (
        f"{metric.name} {arrow(metric.higher_is_better)}",
        *_figures(metric.total),
        *(number(metric.baselines[kind]) for kind in baselines),
    )


def _figures(found: Score) -> tuple[str, str, str]:
    return number(found.value), bracketed(found.interval), str(found.rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines, ""] if lines else []


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """On one line, with nothing in it that Markdown would make an element of."""
    return " ".join(text.split()).replace("<", "&lt;").replace("`", "'").replace("](", "]\\(")


def _fenced(command: str) -> str:
    """On one line, without what would end the block that it stands in."""
    return " ".join(command.splitlines()).replace("```", "'''")
