"""``cinquain run --input rows.jsonl --output out.jsonl``: every row of a file, resumable after ``kill -9``.

Beside ``out.jsonl`` stands ``out.jsonl.run.json``: what the rows come from (input hash, task, model, prompt hash,
options). It is written before the first row and never changes, so that a second start either continues the same work or
refuses. Rows are appended in the order of the input, a window at a time, each forced to the disk. So a kill leaves
whole rows and at most one torn line, which the next start cuts off.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.cli.run import generation_json
from apps.cli.terminal import console, interruptible, say, to_json

if TYPE_CHECKING:
    from rich.progress import Progress

    from pipelines import CinquainError, Generation, Pipeline, Task

__all__ = ["row_progress", "run_rows"]

SCHEMA_VERSION = 1

Row = tuple[int, Any, "dict[str, Any] | CinquainError"]
"""Index, the row's own id (None where it has none), its fields or what is wrong with it."""


def run_rows(
    task: "Task[Any]",
    source: Path,
    output: Path,
    model: str,
    adapter: str | None,
    options: dict[str, Any],
    common: dict[str, Any],
    batch_size: int,
) -> int:
    """Answer every row of a JSONL file.

    Args:
        task: What is asked.
        source: One JSON object of request fields a line, ``id`` beside them where wanted; blank lines are no rows.
        output: JSONL file of results; continued where it is the beginning of the same work.
        model: Model reference.
        adapter: Folder of an adapter.
        options: Options of the engine.
        common: Fields and options of all rows; a row's own come before them.
        batch_size: Rows that are answered and saved together.

    Returns:
        0, 1 when no row succeeded, or 130 when Ctrl-C stopped it.

    Raises:
        InputError: The input cannot be read, or the output belongs to other work.
        CinquainError: The disk is full, a remote model cannot be had any more, or another process works on the same
            output. What was saved stays.
    """
    from filelock import FileLock, Timeout

    from pipelines import pipeline
    from pipelines.errors import CinquainError, InputError
    from pipelines.requests import split_options

    if not source.is_file():
        raise InputError("cli_input_not_file", path=str(source))
    if output.exists() and output.samefile(source):
        raise InputError("cli_output_is_input", path=str(output))
    split_options(task.request_type, common, task.name)
    lock = FileLock(output.with_name(f".{output.name}.lock"))
    try:
        with lock.acquire(timeout=0):
            digest, total = _digest_and_count(source)
            if total == 0:
                raise InputError("cli_input_no_rows", path=str(source))
            work = pipeline(task.name, model, adapter, **options)
            identity = _identity(work, digest, total, model, adapter, options, common)
            done, failed = _open_work(output, identity)
            if done == total:
                _tell("cli_nothing_to_do", path=str(output), rows=total)
                return 0
            return _run(work, source, output, common, batch_size, total, done, failed)
    except Timeout:
        raise CinquainError("cli_output_busy", path=str(output)) from None


def _run(
    work: "Pipeline",
    source: Path,
    output: Path,
    common: dict[str, Any],
    batch_size: int,
    total: int,
    done: int,
    failed: int,
) -> int:
    from pipelines.errors import UnavailableError

    if done:
        _tell("cli_resumed", done=done, total=total)
    cancel = threading.Event()
    with row_progress() as progress, interruptible(cancel), output.open("ab", buffering=0) as file:
        bar = progress.add_task("", total=total, completed=done)
        rows = islice(_rows(source), done, None)
        while window := list(islice(rows, batch_size)):

            def show(calls_done: int, calls_known: int, start: int = done, size: int = len(window)) -> None:
                progress.update(bar, completed=start + size * calls_done / calls_known)

            requests = [{**common, **fields} for _, _, fields in window if isinstance(fields, dict)]
            answers = iter(work.batch(requests, errors="return", cancel=cancel, on_progress=show))
            if cancel.is_set():  # its rows are cut short: none of this window is kept
                _tell("cli_batch_stopped", done=done, total=total)
                return 130
            lines = []
            unavailable = None
            for index, name, fields in window:
                outcome = next(answers) if isinstance(fields, dict) else fields
                if isinstance(outcome, UnavailableError):  # no word on this row: another start asks for it again
                    unavailable = outcome
                    break
                failed += isinstance(outcome, Exception)
                lines.append(to_json(_record(index, name, outcome)) + "\n")
            _append(file, "".join(lines).encode(), output)
            done += len(lines)
            progress.update(bar, completed=done)
            if unavailable:
                raise unavailable
    _tell("cli_batch_done", path=str(output), rows=total, failed=failed)
    return 1 if failed == total else 0


def _append(file: FileIO, lines: bytes, output: Path) -> None:
    """Write through no buffer: on a full disk its rest would be written, and fail, once more when the file closes."""
    from pipelines.home import disk_errors

    with disk_errors(output):
        while lines:
            lines = lines[file.write(lines) :]
        os.fsync(file.fileno())


def _rows(source: Path) -> Iterator[Row]:
    from pipelines.errors import InputError

    for index, (number, line) in enumerate(_lines(source)):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            fields = json.loads(text, parse_constant=_no_constant)
        except UnicodeDecodeError as error:
            yield index, None, InputError("cli_row_not_utf8", line=number, position=error.start)
        except (ValueError, RecursionError) as error:
            yield index, None, InputError("cli_row_not_json", line=number, problem=str(error))
        else:
            if isinstance(fields, dict):
                name = fields.pop("id", None)
                yield index, name, fields
            else:
                yield index, None, InputError("cli_row_not_object", line=number, found=type(fields).__name__)


def _no_constant(name: str) -> None:
    """NaN and Infinity: Python reads and writes them, JSON does not have them, and other readers stop at them."""
    raise ValueError(f"JSON has no {name}")


def _lines(source: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1 on."""
    with source.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line


def _digest_and_count(source: Path) -> tuple[str, int]:
    digest, count = hashlib.sha256(), 0
    with source.open("rb") as file:
        for line in file:
            digest.update(line)
            count += bool(line.strip())
    return digest.hexdigest(), count


def _identity(
    work: "Pipeline",
    digest: str,
    total: int,
    model: str,
    adapter: str | None,
    options: dict[str, Any],
    common: dict[str, Any],
) -> dict[str, Any]:
    """What the rows come from: two runs with the same identity may share one output file."""
    engine, prompt = work.wording(common.get("adapter"))
    identity = {
        "schema_version": SCHEMA_VERSION,
        "input_sha256": digest,
        "rows": total,
        "task": work.task.name,
        "model": model,
        "adapter": adapter,
        "engine_options": options,
        "prompt_sha256": prompt.digest(engine.chat_template),
        "fields": common,
        "engine": engine.provenance(),
    }
    return dict(json.loads(to_json(identity)))


def _open_work(output: Path, identity: dict[str, Any]) -> tuple[int, int]:
    """Bind the output to this work, or continue it: returns the rows it holds already and how many of them failed."""
    from pipelines.errors import InputError
    from pipelines.home import write_atomically

    sidecar = output.with_name(f"{output.name}.run.json")
    if not sidecar.exists():
        if output.exists() and output.stat().st_size:
            raise InputError("cli_output_foreign", path=str(output))
        write_atomically(sidecar, to_json(identity, indent=2) + "\n")
    try:
        bound = json.loads(sidecar.read_bytes())
        different = [name for name in identity if bound.get(name) != identity[name]]
    except (ValueError, AttributeError):
        raise InputError("cli_output_foreign", path=str(output)) from None
    if different:
        raise InputError("cli_output_other_work", path=str(output), different=different)
    return _cut_torn_line(output) if output.exists() else (0, 0)


def _cut_torn_line(output: Path) -> tuple[int, int]:
    from pipelines.errors import InputError

    done = failed = end = 0
    with output.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
                if record["index"] != done:
                    raise ValueError
            except (ValueError, TypeError, KeyError):
                raise InputError("cli_output_damaged", path=str(output), line=done + 1) from None
            done, failed, end = done + 1, failed + ("error" in record), end + len(line)
        file.truncate(end)
    return done, failed


def _record(index: int, name: Any, outcome: "Generation | CinquainError") -> dict[str, Any]:
    """One line of the output."""
    record: dict[str, Any] = {"index": index} if name is None else {"index": index, "id": name}
    if isinstance(outcome, Exception):
        error = {"code": outcome.code, "parameters": outcome.parameters, "sentence": say(outcome)}
        return {**record, "error": error}
    data = generation_json(outcome)
    kept = ("text", "finish_reason", "usage", "notes", *(("variants",) if outcome.variants else ()))
    provenance = {name: data["provenance"][name] for name in ("prompt_sha256", "options")}
    return {**record, **{name: data[name] for name in kept}, "provenance": provenance}


def row_progress() -> "Progress":
    """A bar over rows with their speed and the time that is left, on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TimeRemainingColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(say("cli_rows_per_s", rate="–" if task.speed is None else f"{task.speed:.1f}"))

    columns = (BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn())
    screen = console(stderr=True)
    return Progress(*columns, console=screen, disable=not screen.is_terminal)


def _tell(code: str, **parameters: Any) -> None:
    console(stderr=True).print(say(code, **parameters), soft_wrap=True)
