"""``cinquain eval compare`` and ``report``: runs row by row on the terminal, and as a page, Markdown, JSON or YAML."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apps.cli.terminal import Language, check_writable, console, language, sanitize, say, to_json

if TYPE_CHECKING:
    from rich.text import Text

    from eval.benchmarks import Benchmark
    from eval.comparing import Piece, RunComparison
    from eval.records import Run

__all__ = ["compare", "report"]

_SUFFIXES = {".html": "html", ".htm": "html", ".md": "markdown", ".json": "json", ".yaml": "yaml", ".yml": "yaml"}
_OPEN, _CLOSE = "⟦", "⟧"
"""Around what the other reply lacks, where there are no colours."""

Benchmarks = Annotated[
    list[str] | None,
    typer.Option("--benchmark", "-b", help="File of a benchmark of your own that was run.", metavar="FILE"),
]


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs: each is compared with the first.")],
    benchmark: Benchmarks = None,
    rows: Annotated[int, typer.Option(min=0, help="Show so many of the rows that changed most.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    lang: Language = None,
) -> None:
    """Is it better? Compare runs of the same benchmark row by row."""
    from eval.comparing import compare as compared
    from eval.records import load_run
    from eval.report import labels

    loaded = [load_run(folder) for folder in runs]
    found = compared(loaded, _benchmark_of(benchmark)(loaded[0]))
    if as_json:
        typer.echo(to_json({"comparisons": [each.to_json() for each in found]}, indent=2))
        return
    names = labels(loaded)
    for name, each in zip(names[1:], found, strict=True):
        _print(each, names[0], name, rows)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs; those of the same benchmark are compared.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file; report.html for a page, else standard output.", show_default=False),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", "-f", help="html, markdown, json or yaml; as the file's name ends without it."),
    ] = None,
    no_texts: Annotated[
        bool, typer.Option("--no-texts", help="Leave out what was asked and what models replied.")
    ] = False,
    benchmark: Benchmarks = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Data set on the Hub that the benchmark belongs to, for yaml.", metavar="ORG/NAME"),
    ] = None,
    trained_on: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of prepared rows, or of an adapter: were the benchmark's rows trained on? May be repeated.",
            metavar="DIR",
        ),
    ] = None,
    lang: Language = None,
) -> None:
    """Scores with intervals, comparisons, costs and provenance, in one file."""
    from eval.page import render
    from eval.records import load_run
    from eval.report import hub_yaml, markdown
    from eval.report import report as reported
    from eval.report import to_json as plain
    from pipelines.errors import InputError
    from pipelines.home import write_atomically

    form = form or (_SUFFIXES.get(out.suffix.lower(), "html") if out else "html")
    if form not in _SUFFIXES.values():
        raise InputError("eval_report_format", found=form)
    if out is None and form == "html":
        out = Path("report.html")
    if out is not None:
        check_writable(out)
    command = ["cinquain", "eval", "report", *map(str, runs), "--format", form]
    for option, values in _given(out, benchmark, dataset, trained_on):
        command += [word for value in values if value is not None for word in (option, str(value))]
    command += ["--no-texts"] if no_texts else []
    loaded = [load_run(folder) for folder in runs]
    found = reported(loaded, _benchmark_of(benchmark), command, trained_on or ())
    texts = form in ("html", "json") and not no_texts
    if form == "html":
        content = render(found, language(), texts=texts)
    elif form == "json":
        content = to_json(plain(found, texts=texts), indent=1) + "\n"
    else:
        content = markdown(found, language()) if form == "markdown" else hub_yaml(found, dataset)
    if out is None:
        typer.echo(sanitize(content), nl=False)
        return
    write_atomically(out, content, private=texts)
    code = "eval_report_written_private" if texts else "eval_report_written"
    console(stderr=True).print(say(code, path=str(out)), soft_wrap=True)


def _given(
    out: Path | None, benchmark: list[str] | None, dataset: str | None, trained_on: list[Path] | None
) -> list[tuple[str, Sequence[object]]]:
    """Options with their values, for the command line that makes a report again."""
    return [
        ("--out", [out]), ("--benchmark", benchmark or []), ("--dataset", [dataset]), ("--trained-on", trained_on or [])
    ]  # fmt: skip


def _benchmark_of(files: Sequence[str] | None) -> "Callable[[Run], Benchmark]":
    """Gives the benchmark of a run: of the files that were named, or the one that ships."""
    from eval.benchmarks import load_benchmark, names
    from pipelines.errors import InputError

    own = {loaded.name: loaded for loaded in map(load_benchmark, files or [])}

    def find(run: "Run") -> "Benchmark":
        if run.benchmark in own:
            return own[run.benchmark]
        if run.benchmark not in names():
            raise InputError("eval_report_benchmark", name=run.benchmark)
        if run.benchmark not in loaded:
            loaded[run.benchmark] = load_benchmark(run.benchmark)
        return loaded[run.benchmark]

    loaded: dict[str, Benchmark] = {}
    return find


def _print(found: "RunComparison", first: str, second: str, rows: int) -> None:
    from eval.comparing import word_diff

    screen = console()
    screen.print(say("eval_report_against", first=first, second=second), style="bold", soft_wrap=True)
    screen.print(say(found.metrics[0].note), soft_wrap=True)
    for line in _table(found):
        screen.print(line, soft_wrap=True)
    screen.print(say("eval_report_changed", better=found.better, worse=found.worse), soft_wrap=True)
    for change in found.changes[:rows]:
        scores = f"{change.first_score:.2f} → {change.second_score:.2f}"
        screen.print(f"\n{sanitize(change.row_id)} ({scores})", style="bold", soft_wrap=True)
        left, right = word_diff(change.first_reply, change.second_reply)
        screen.print(_marked("- ", left, "red"), soft_wrap=True)
        screen.print(_marked("+ ", right, "green"), soft_wrap=True)


def _table(found: "RunComparison") -> list[str]:
    """A line for each metric; the words of the verdict last, which are of any width in Chinese."""
    from eval.comparing import signed
    from eval.report import arrow, number

    lines = [
        (
            f"{sanitize(metric.name)} {arrow(metric.higher_is_better)}",
            number(metric.comparison.first),
            "→",
            number(metric.comparison.second),
            signed(metric.comparison.difference),
            f"[{signed(metric.comparison.interval.low)}, {signed(metric.comparison.interval.high)}]",
            f"p {metric.adjusted_p_value:.2g}",
        )
        for metric in found.metrics
    ]
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    verdicts = [say(f"eval_report_{metric.verdict}") for metric in found.metrics]
    return [
        "  ".join(
            [
                line[0].ljust(wide[0]),
                *(cell.rjust(size) for cell, size in zip(line[1:], wide[1:], strict=True)),
                verdict,
            ]
        )
        for line, verdict in zip(lines, verdicts, strict=True)
    ]


def _marked(sign: str, pieces: Sequence["Piece"], colour: str) -> "Text":
    from rich.text import Text

    screen, text = console(), Text(sign)
    coloured = screen.color_system is not None and not screen.no_color
    for piece in pieces:
        shown = sanitize(piece.text)
        if piece.changed and not coloured:
            shown = f"{_OPEN}{shown}{_CLOSE}"
        text.append(shown, f"bold {colour}" if piece.changed and coloured else "")
    return text
