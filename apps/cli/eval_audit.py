"""``cinquain eval audit``: what a model risks, by category, as a page, Markdown or JSON."""

import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps.cli.batch import row_progress
from apps.cli.run import Adapter, EngineOptions, Model, parse_engine_options
from apps.cli.terminal import Language, check_writable, console, interruptible, language, sanitize, say, to_json

if TYPE_CHECKING:
    from eval.audit.auditing import Wanted
    from eval.audit.report import Audit
    from eval.audit.subject import Subject

__all__ = ["audit"]

_SUFFIXES = {".html": "html", ".htm": "html", ".md": "markdown", ".json": "json"}


def audit(
    model: Model = None,
    adapter: Adapter = None,
    engine: EngineOptions = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            "--part",
            "-p",
            help="Measure this part only: pairs, swaps, toxicity, refusal, unanswerable, sycophancy, calibration, "
            "personal, privacy, cost. May be repeated.",
        ),
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option(help="More rows of bias: crows-pairs, winobias, bbq (from the Hub), or a file. May be repeated."),
    ] = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            help="Swap names, pronouns, nationalities in these: a benchmark, or a file (a text of one prompt a line, "
            "JSONL, YAML). May be repeated."
        ),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the prepared rows that were trained on; that of the adapter where it has one.",
            metavar="DIR",
        ),
    ] = None,
    tariff: Annotated[
        float | None, typer.Option(min=0, help="Price of this machine for an hour, for that of 1,000 requests.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for what was measured; the same command goes on there.")] = Path(
        "results"
    ),
    report: Annotated[
        Path, typer.Option("--report", "-o", help="The report: .html, .md or .json.", metavar="FILE")
    ] = Path("audit.html"),
    no_texts: Annotated[
        bool, typer.Option("--no-texts", help="Leave out what was asked and what was replied.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no tables.")] = False,
    lang: Language = None,
) -> int:
    """Bias, toxicity, honesty, privacy and cost of a model, or of an adapter beside its base."""
    from eval.audit.asking import load_pairs
    from eval.audit.auditing import PARTS, Wanted
    from eval.audit.subject import Subject
    from eval.audit.swaps import load_prompts
    from pipelines import DEFAULT_MODEL
    from pipelines.engines import load_engine
    from pipelines.errors import InputError, nearest

    form = _SUFFIXES.get(report.suffix.lower())
    if form is None:
        raise InputError("audit_format", path=str(report))
    check_writable(report)
    for name in part or ():
        if name not in PARTS:
            raise InputError("audit_part_unknown", found=name, nearest=nearest(name, PARTS))
    options = parse_engine_options(engine)
    command = ["cinquain", "eval", "audit", "--report", str(report), "--out", str(out)]
    command += ["--no-texts"] if no_texts else []
    for option, values in (
        ("--model", [model]),
        ("--adapter", [adapter]),
        ("-e", engine or []),
        ("--part", part or []),
        ("--pairs", pairs or []),
        ("--prompts", prompts or []),
        ("--ledger", [ledger]),
        ("--tariff", [tariff]),
    ):
        command += [word for value in values if value is not None for word in (option, str(value))]
    wanted = Wanted(
        part or PARTS,
        [load_pairs(each) for each in pairs or ()],
        [load_prompts(each) for each in prompts or ()],
        ledger or _own_ledger(adapter),
        tariff,
    )
    reference = model or DEFAULT_MODEL
    loaded = load_engine(reference, adapter, task="dialogue", **_exact(reference, options))
    cancel = threading.Event()
    subject = Subject(loaded, out, _adapter_name(loaded), options, shlex.join(command), cancel)
    with interruptible(cancel):
        found = _measured(subject, wanted, quiet)
    loaded.close()
    if cancel.is_set():
        console(stderr=True).print(say("audit_stopped"), soft_wrap=True)
        return 130
    _write(found, report, form, texts=not no_texts)
    if not quiet:
        _print(found)
    code = "audit_written" if no_texts or form == "markdown" else "audit_written_private"
    console(stderr=True).print(say(code, path=str(report)), soft_wrap=True)
    return 0


def _measured(subject: "Subject", wanted: "Wanted", quiet: bool) -> "Audit":
    from eval.audit.auditing import measure

    with row_progress() as bars:
        known: dict[str, Any] = {}

        def show(name: str, done: float, total: float) -> None:
            if name not in known:
                known[name] = bars.add_task(name, total=total, visible=not quiet)
            bars.update(known[name], completed=done, total=total)

        return measure(subject, wanted, progress=show)


def _own_ledger(adapter: str | None) -> Path | None:
    """The rows that an adapter was trained on, where its folder has them."""
    if adapter is None:
        return None
    from pipelines.models import resolve_adapter

    folder = resolve_adapter(adapter)
    return folder if (folder / "data" / "ledger.json").is_file() else None


def _exact(reference: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options, with weights in one number format for one row and for many: see ``apps.cli.eval``."""
    if reference == "scripted" or "://" in reference:
        return options
    from pipelines.engines.device import choose_device

    known = {name: options[name] for name in ("device", "dtype", "quantization") if name in options}
    return {**options, "dtype": "float32"} if choose_device(**known).one_row else options


def _adapter_name(engine: Any) -> str | None:
    adapters = getattr(engine, "adapters", None)
    return adapters.default if adapters is not None else None


def _write(found: "Audit", path: Path, form: str, *, texts: bool) -> None:
    from eval.audit.page import render
    from eval.audit.report import markdown
    from eval.audit.report import to_json as plain
    from pipelines.home import write_atomically

    if form == "html":
        content = render(found, language(), texts=texts)
    elif form == "json":
        content = to_json(plain(found, texts=texts), indent=1) + "\n"
    else:
        content, texts = markdown(found, language()), False
    write_atomically(path, content, private=texts)


def _print(found: "Audit") -> None:
    from rich.table import Table

    from eval.audit.report import Words

    screen, words = console(), Words(language())
    for each in found.parts:
        screen.print(f"\n{words.say(each.name)}", style="bold", soft_wrap=True)
        for measure in each.measures:
            screen.print(words.say(measure.name), soft_wrap=True)
            table = Table(box=None, pad_edge=False)
            for column in words.head(measure, found.sides):
                table.add_column(sanitize(column))
            for line in measure.lines:
                table.add_row(*map(sanitize, words.cells(measure, line)))
            screen.print(table)
        if each.facts:
            table = Table(box=None, pad_edge=False)
            for column in ("", *found.sides):
                table.add_column(sanitize(column))
            for cells in words.facts(each):
                table.add_row(*map(sanitize, cells))
            screen.print(table)
        for note in each.notes:
            screen.print(words.note(note), soft_wrap=True)
