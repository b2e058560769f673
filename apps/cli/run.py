"""``cinquain run``: one task on a text, or on every row of a file."""

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps.cli.inputs import read_text
from apps.cli.terminal import (
    Language,
    Sanitizer,
    check_writable,
    console,
    interruptible,
    sanitize,
    say,
    to_json,
)

if TYPE_CHECKING:
    from pipelines import Generation, Pipeline, Task

__all__ = [
    "Adapter",
    "EngineOptions",
    "Model",
    "app",
    "generation_json",
    "parse_engine_options",
    "parse_settings",
    "print_notes",
    "stream_to_terminal",
]

app = typer.Typer(add_completion=False)


def _named(model: str | None) -> str | None:
    """An empty name is a mistake, such as a variable that was never set, and not the wish for the default."""
    if model is not None and not model.strip():
        from pipelines.errors import InputError

        raise InputError("model_empty")
    return model


Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Model reference; without it the embedded model.", callback=_named),
]
Adapter = Annotated[str | None, typer.Option("--adapter", help="Folder of a LoRA adapter.")]
EngineOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        "-e",
        metavar="OPTION=VALUE",
        help="An option of the engine: device, dtype, quantization, thinking, num_beams, concurrency…",
    ),
]


@app.command()
def run(
    task: Annotated[
        str,
        typer.Argument(help="translation, summarization, dialogue, code_generation or creative_writing."),
    ],
    text: Annotated[str | None, typer.Argument(help="The text; - reads standard input.", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the text from a file.")] = None,
    model: Model = None,
    adapter: Adapter = None,
    engine: EngineOptions = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="FIELD=VALUE", help="A field of the request; JSON where it parses."),
    ] = None,
    tests: Annotated[
        Path | None,
        typer.Option(help="Tests that the code must pass, a Python file: the model reads them, the sandbox runs them."),
    ] = None,
    repair: Annotated[int | None, typer.Option(help="Rounds in which code that fails goes back to the model.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Most tokens of one reply.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest token each time.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample from the tokens that make up this probability.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same text.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="A string that ends the text.")] = None,
    deadline: Annotated[float | None, typer.Option(help="Seconds for the whole request.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the result into a file.")] = None,
    rows: Annotated[
        Path | None, typer.Option("--input", "-i", help="A JSONL file, one request a line; needs --output.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=4096, help="Rows of --input that are saved together.")] = 32,
    lang: Language = None,
) -> int:
    """Run a task on a text, or on every row of a JSONL file."""
    from pipelines import DEFAULT_MODEL, TASKS
    from pipelines.errors import InputError, nearest

    if task not in TASKS:
        raise InputError("task_unknown", found=task, nearest=nearest(task, TASKS))
    definition = TASKS[task]()
    fields = parse_settings(settings or [])
    given = {
        "tests": _tests(definition, tests),
        "repair": repair,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
        "stop": tuple(stop) if stop else None,
        "deadline_s": deadline,
    }
    for name, value in given.items():
        if value is not None:
            if name in fields:
                raise InputError("cli_set_twice", field=name)
            fields[name] = value
    if fields.get("tests") and task == "code_generation":
        definition = _judged()
    if output:
        check_writable(output)
    if rows:
        from apps.cli.batch import run_rows

        if text is not None or file is not None or as_json:
            raise InputError("cli_input_alone")
        if output is None:
            raise InputError("cli_input_needs_output", path=str(rows))
        options = parse_engine_options(engine)
        return run_rows(definition, rows, output, model or DEFAULT_MODEL, adapter, options, fields, batch_size)
    fields = _with_text(definition, fields, text, file)
    _check(definition, fields)
    from pipelines import pipeline

    options = {"languages": _languages(task, fields), **parse_engine_options(engine)}
    built = pipeline(definition, model or DEFAULT_MODEL, adapter, **options)
    return _answer(built, fields, as_json, output)


def parse_engine_options(settings: Sequence[str] | None) -> dict[str, Any]:
    """Options for ``load_engine`` from ``option=value`` words; the engine checks their names and types.

    Raises:
        InputError: No ``=``, the same option twice, or what has an option of its own.
    """
    from pipelines.errors import InputError

    options = parse_settings(settings or [], option="--engine")
    if own := {"task", "model", "adapter", "prompt", "reference", "source", "languages"} & set(options):
        raise InputError("engine_option_unknown", option=min(own), nearest="device, dtype")
    return options


def parse_settings(settings: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Request fields from ``field=value`` words.

    A list, an object, a quoted string or null is read as JSON. A bare number stays text: a request turns it into a
    number where the field is one, and a text field keeps it as it was typed.

    Raises:
        InputError: No ``=``, or the same field twice.
    """
    from pipelines.errors import InputError

    fields: dict[str, Any] = {}
    for setting in settings:
        name, equals, raw = setting.partition("=")
        name = name.strip()
        if not equals or not name:
            raise InputError("cli_set_form", option=option, found=setting)
        if name in fields:
            raise InputError("cli_set_twice", field=name)
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):  # no JSON, or thousands of brackets
            value = raw
        fields[name] = raw if isinstance(value, int | float) else value
    return fields


def generation_json(generation: "Generation") -> dict[str, Any]:
    """A result as plain data, each note with its sentence."""
    data = generation.to_json()
    for plain, note in zip(data["notes"], generation.notes, strict=True):
        plain["sentence"] = say(note)
    return data


def stream_to_terminal(pipeline: "Pipeline", fields: dict[str, Any]) -> "tuple[Generation, int]":
    """Answer a request, its text on standard output as it comes; Ctrl-C ends the reply and keeps what there is.

    Returns:
        The result, and how many characters were kept from the terminal.
    """
    cancel, sanitizer, last = threading.Event(), Sanitizer(), "\n"
    stream = pipeline.stream(cancel=cancel, **fields)
    with interruptible(cancel):
        for piece in stream:
            if shown := sanitizer.feed(piece):
                last = shown[-1]
                _write(shown)
    if rest := sanitizer.close():
        last = rest[-1]
        _write(rest)
    if last != "\n":
        _write("\n")
    return stream.generation, sanitizer.removed


def print_notes(generation: "Generation", removed: int = 0, *, speed: bool = False) -> None:
    """Notes of a result as dim lines on standard error, and with ``speed`` a last line with tokens/s."""
    screen = console(stderr=True)
    for note in generation.notes:
        if note.code != "reply_cancelled":  # Ctrl-C has a line of its own
            screen.print(say(note), style="dim", soft_wrap=True)
    if removed:
        screen.print(say("cli_controls_removed", count=removed), style="dim", soft_wrap=True)
    if speed:
        timing, first = generation.timing, generation.timing.first_token_s
        line = say(
            "cli_speed",
            tokens=generation.usage.completion_tokens,
            rate=f"{timing.tokens_per_s:.1f}",
            first="–" if first is None else f"{first:.2f}",
            total=f"{timing.total_s:.2f}",
        )
        screen.print(line, style="dim", soft_wrap=True)


def _with_text(task: "Task[Any]", fields: dict[str, Any], text: str | None, file: Path | None) -> dict[str, Any]:
    """The fields with those that the text fills; standard input is left alone where --set has given them all."""
    from pipelines.errors import InputError

    filled_by_text = list(task.fields_from_text("text"))
    if text is None and file is None and all(name in fields for name in filled_by_text):
        return fields
    found = read_text(text, file)
    if found is None:
        return fields
    for name in filled_by_text:
        if name in fields:
            raise InputError("cli_set_and_text", field=name)
    return {**task.fields_from_text(found), **fields}


def _tests(task: "Task[Any]", path: Path | None) -> str | None:
    """The text of ``--tests``, which must parse: the model is no reason to find that out later."""
    from pipelines.errors import InputError
    from pipelines.text.code import syntax_problem

    if path is None:
        return None
    if task.name != "code_generation":
        raise InputError("cli_tests_of_code", task=task.name)
    text = read_text(None, path) or ""
    if problem := syntax_problem(text):
        raise InputError("cli_tests_syntax", path=str(path), line=problem[0], message=problem[1])
    return text


def _judged() -> "Task[Any]":
    """Code generation whose code is run against its tests."""
    from eval.sandbox import judged_code_generation, required_tier

    required_tier()
    return judged_code_generation()


def _languages(task: str, fields: dict[str, Any]) -> list[str]:
    """The languages that a request names, so that ``auto`` takes a model that knows them."""
    names = () if task == "code_generation" else ("source", "target", "language")  # there it is Python or Rust
    found = (fields.get(name) for name in names)
    return [language for language in found if isinstance(language, str) and language != "auto"]


def _check(task: "Task[Any]", fields: dict[str, Any]) -> None:
    """Complain of a wrong field before the seconds that loading a model takes."""
    from pipelines.errors import InputError
    from pipelines.requests import split_options, validate

    try:
        request_fields, _ = split_options(task.request_type, fields, task.name)
        validate(task.request_type, request_fields, task.name)
    except InputError as error:
        if error.code != "field_missing":
            raise
        field = error.parameters["field"]
        if field in task.fields_from_text("text"):
            raise InputError("cli_text_missing", task=task.name) from None
        value = {"target": "fr", "language": "python"}.get(field, "…")
        raise InputError("cli_field_missing", task=task.name, field=field, value=value) from None


def _answer(pipeline: "Pipeline", fields: dict[str, Any], as_json: bool, output: Path | None) -> int:
    from pipelines.home import write_atomically

    if as_json or output:
        cancel = threading.Event()
        stream = pipeline.stream(cancel=cancel, **fields)
        with interruptible(cancel):
            for _ in stream:
                pass
        generation = stream.generation
        cancelled = generation.finish_reason == "cancelled"
        if output:
            if not cancelled:
                whole = to_json(generation_json(generation), indent=2) if as_json else generation.text
                write_atomically(
                    output.resolve(), whole if whole.endswith("\n") else whole + "\n"
                )  # a link stays a link
            print_notes(generation)
            sentence = "cli_not_written" if cancelled else "cli_written"
            console(stderr=True).print(say(sentence, path=str(output)), soft_wrap=True)
        else:
            _write(to_json(generation_json(generation)) + "\n")
        return 130 if cancelled else 0
    generation, removed = stream_to_terminal(pipeline, fields)
    at_terminal = sys.stdout.isatty()
    others = generation.variants[1:]
    if at_terminal:
        for number, variant in enumerate(others, 2):
            _write(f"\n{say('cli_variant', number=number)}\n{sanitize(variant)}\n")
    print_notes(generation, removed, speed=at_terminal)
    if others and not at_terminal:
        console(stderr=True).print(say("cli_more_variants", count=len(others)), style="dim", soft_wrap=True)
    return 130 if generation.finish_reason == "cancelled" else 0


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
