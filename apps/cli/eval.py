"""``cinquain eval``: ask a model the rows of a benchmark; compare and report what came back."""

import math
import os
import re
import shlex
import threading
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps.cli.batch import row_progress
from apps.cli.eval_audit import audit
from apps.cli.eval_report import compare, report
from apps.cli.run import Adapter, EngineOptions, Model, parse_engine_options
from apps.cli.terminal import Language, console, interruptible, say, to_json

if TYPE_CHECKING:
    from eval.benchmarks import Benchmark
    from eval.records import Run, Shard
    from eval.scoring import MetricScore
    from pipelines.pipeline import Pipeline

__all__ = ["app"]

app = typer.Typer(
    name="eval",
    help="Measure a model, and see whether another one is better.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command()
def run(
    benchmark: Annotated[
        list[str] | None,
        typer.Option("--benchmark", "-b", help="Name of a benchmark, or a file (YAML, JSONL); may be repeated."),
    ] = None,
    suite: Annotated[str | None, typer.Option(help="All benchmarks of a suite: smoke, standard.")] = None,
    model: Model = None,
    adapter: Adapter = None,
    engine: EngineOptions = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only the first rows of each benchmark.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of one reply.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the runs; each has a folder of its own there.")] = Path(
        "results"
    ),
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Ask every N-th row only, from the I-th on: N processes share the work. Set by `accelerate launch`.",
        ),
    ] = None,
    alone: Annotated[
        int, typer.Option(min=0, help="Rows to ask once more by themselves: do batches change the texts?")
    ] = 3,
    retry: Annotated[bool, typer.Option("--retry-failed", help="Ask rows again that got no reply.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each benchmark.")] = False,
    lang: Language = None,
) -> int:
    """Ask a model every row of a benchmark; the same command goes on where it was stopped."""
    from pipelines import DEFAULT_MODEL, TASKS
    from pipelines.engines import load_engine
    from pipelines.errors import InputError, UnavailableError
    from pipelines.pipeline import Pipeline

    share, options = _shard(shard), parse_engine_options(engine)
    named = _named(benchmark, suite, limit)
    tasks = {each.task for each in named.values()}
    own_task = tasks.pop() if len(tasks) == 1 else None
    reference = model or DEFAULT_MODEL
    loaded = load_engine(reference, adapter, task=own_task, **_computing(reference, options, share))
    common: dict[str, Any] = {
        "engine_options": options,
        "shard": share,
        "max_new_tokens": max_new_tokens,
        "alone": alone,
    }
    cancel, found, refused = threading.Event(), list["Run"](), None
    for name, each in named.items():
        words = _command(name, model, adapter, engine, limit, max_new_tokens)
        try:
            with interruptible(cancel):
                one = _ask(
                    each, Pipeline(TASKS[each.task](), loaded), out, cancel, quiet, retry=retry, command=words, **common
                )
        except UnavailableError:
            _tell(say("eval_kept", path=str(out)))
            raise
        except InputError as error:
            if suite is None or error.code != "model_task":
                raise
            refused = error  # a translation model has no share in four of five tasks
            _tell(say(error))
            continue
        if cancel.is_set():
            _tell(say("eval_stopped", done=len(one.records), total=one.rows))
            return 130
        _print(one, each, as_json, quiet)
        found.append(one)
    loaded.close()
    if refused and not found:
        raise refused
    return 1 if any(all(record.error for record in one.records) for one in found) else 0


app.command()(compare)
app.command()(report)
app.command()(audit)


def _ask(
    benchmark: "Benchmark",
    pipeline: "Pipeline",
    out: Path,
    cancel: threading.Event,
    quiet: bool,
    *,
    shard: "Shard",
    **options: Any,
) -> "Run":
    from eval.runner import run as ask

    with row_progress() as bars:
        rows = len(benchmark.rows[shard.number - 1 :: shard.count])
        bar = bars.add_task(benchmark.name, total=rows, visible=not quiet)

        def show(done: float) -> None:
            bars.update(bar, completed=done)

        return ask(benchmark, pipeline, out, cancel=cancel, progress=show, shard=shard, **options)


def _named(references: list[str] | None, suite: str | None, limit: int | None) -> "dict[str, Benchmark]":
    """The benchmarks by what names them; with a limit each is one of fewer rows, whose hash is its own."""
    from eval.benchmarks import load_benchmark
    from eval.benchmarks import suite as names_of
    from pipelines.errors import InputError

    wanted = [*(references or []), *(names_of(suite) if suite else ())]
    if not wanted:
        raise InputError("eval_no_benchmark")
    found = {name: load_benchmark(name) for name in wanted}
    return {name: replace(each, rows=each.rows[:limit]) for name, each in found.items()}


def _shard(given: str | None) -> "Shard":
    """What ``--shard`` says, else the place among the processes that were launched together."""
    from eval.records import Shard
    from pipelines.errors import InputError

    if given is None:
        return Shard(int(os.environ.get("RANK", "0")) + 1, int(os.environ.get("WORLD_SIZE", "1")))
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", given)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError("eval_shard_form", found=given)
    return Shard(int(match[1]), int(match[2]))


def _computing(reference: str, options: dict[str, Any], share: "Shard") -> dict[str, Any]:
    """The options with where and how to compute, so that a row gets the same text in whatever batch it comes.

    Of several processes on one machine each takes a GPU of its own. A processor that would read one row by other
    weights (bfloat16) than a batch takes float32 for both: a run that goes on, or is shared, has other batches.
    """
    if reference == "scripted" or "://" in reference:
        return options
    import torch

    from pipelines.engines.device import choose_device

    place = os.environ.get("LOCAL_RANK")
    if place is not None and share.count > 1 and "device" not in options and torch.cuda.is_available():
        options = {**options, "device": f"cuda:{place}"}
    known = {name: options[name] for name in ("device", "dtype", "quantization") if name in options}
    return {**options, "dtype": "float32"} if choose_device(**known).one_row else options


def _command(
    name: str,
    model: str | None,
    adapter: str | None,
    engine: list[str] | None,
    limit: int | None,
    max_new_tokens: int | None,
) -> str:
    """The command line that repeats one benchmark's run, whatever it was part of."""
    given = {"--benchmark": name, "--model": model, "--adapter": adapter, "--limit": limit}
    given["--max-new-tokens"] = max_new_tokens
    words = [word for option, value in given.items() if value is not None for word in (option, str(value))]
    return shlex.join(["cinquain", "eval", "run", *words, *(word for each in engine or [] for word in ("-e", each))])


def _print(run: "Run", benchmark: "Benchmark", as_json: bool, quiet: bool) -> None:
    from eval.scoring import score

    failed = Counter(record.error for record in run.records if record.error)
    cut = sum(record.finish_reason == "length" for record in run.records)
    whole = len(run.records) == run.rows  # else other processes are still at work
    scores = score(run, benchmark) if whole else None
    notes = scores.notes if scores else run.notes
    if as_json:
        data = {
            "benchmark": run.benchmark,
            "version": run.version,
            "folder": str(run.folder),
            "rows": run.rows,
            "answered": len(run.records),
            "failed": dict(failed),
            "cut": cut,
            "costs": run.costs,
            "scores": scores.to_json() if scores else None,
            "notes": [{**asdict(note), "sentence": say(note)} for note in notes],
        }
        typer.echo(to_json(data))
        return
    rate = run.costs["tokens_per_s"]
    figures = {"failed": failed.total(), "cut": cut, "rate": "–" if rate is None else f"{rate:.1f}"}
    screen = console()
    line = say("eval_ran", benchmark=run.benchmark, answered=len(run.records), rows=run.rows, **figures)
    screen.print(line, soft_wrap=True)
    for metric in scores.metrics if scores else ():
        screen.print(_scored(metric), soft_wrap=True)
    screen.print(say("eval_where", path=str(run.folder)), soft_wrap=True)
    if not quiet:
        for note in notes:
            _tell(say(note))
        if not whole:
            _tell(say("eval_others_at_work", rows=run.rows - len(run.records)))


def _scored(metric: "MetricScore") -> str:
    score, interval = f"{metric.total.value:.2f}", metric.total.interval
    if math.isnan(interval.low):  # rows that are too few, or all alike
        return say("eval_metric_alone", metric=metric.name, score="–" if math.isnan(metric.total.value) else score)
    return say("eval_metric", metric=metric.name, score=score, low=f"{interval.low:.2f}", high=f"{interval.high:.2f}")


def _tell(line: str) -> None:
    console(stderr=True).print(line, soft_wrap=True)
