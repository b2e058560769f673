"""What a recipe names as text, as sources that ``finetune.data`` reads: public sets are fetched, rhymes are made up."""

import json
from functools import partial
from pathlib import Path

from finetune.data.config import Source
from finetune.data.fetch import SETS, fetch
from finetune.data.progress import RowProgress
from finetune.pretraining.recipe import DocumentSource, PretrainRecipe
from finetune.pretraining.rhymes import rhymes
from pipelines.errors import CinquainError, InputError, nearest
from pipelines.home import write_atomically

__all__ = ["chat_sources", "text_sources"]

PUBLIC, RHYMES, DOCUMENTS = "public:", "rhymes", "documents"


def text_sources(recipe: PretrainRecipe, folder: Path, progress: RowProgress) -> list[tuple[DocumentSource, Source]]:
    """The sources of the documents, each as the recipe says it and as it is read.

    Args:
        recipe: The recipe.
        folder: Where public sets and rhymes are kept: what is there is taken again.
        progress: Says what goes on, and where rhymes take the place of a set.

    Raises:
        InputError: There is no such set.
        CinquainError: A set cannot be had, and the recipe names nothing else.
    """
    found = []
    for each in recipe.documents.sources:
        path = _local(each, folder, progress)
        name = each.path if path == each.path else Path(path).name
        found.append(
            (
                each,
                Source(
                    path=path,
                    name=name if path != each.path else "",
                    limit=each.limit,
                    encoding=each.encoding,
                    subset=each.subset,
                    hub_split=each.hub_split,
                ),
            )
        )
    return found


def chat_sources(recipe: PretrainRecipe, folder: Path, progress: RowProgress) -> dict[str, list[Source]]:
    """The rows of the chats by task.

    Args:
        recipe: The recipe; it has a part on chats.
        folder: As for ``text_sources``, which was called before.
        progress: Says where the documents hold no rows.
    """
    assert recipe.chat is not None
    found: dict[str, list[Source]] = {}
    for task, paths in recipe.chat.rows.items():
        for path in paths:
            if path != DOCUMENTS:
                found.setdefault(task, []).append(Source(path=path))
                continue
            taken = [row for row in map(partial(_taken, folder=folder), recipe.documents.sources) if row]
            if not taken:
                progress.say("pretrain_no_document_rows", task=task)
            for file in taken:
                rows = _excerpts(file, recipe.chat.excerpt) if recipe.chat.excerpt else file
                found.setdefault(task, []).append(
                    Source(path=str(rows), columns={**_FIELDS, "reply": "text"}, group="doc")
                )
    return found


def _taken(source: DocumentSource, folder: Path) -> Path | None:
    """The file that was fetched or made for a source of documents; None for a person's own."""
    files = [_file(path, folder) for path in (source.path, source.otherwise) if path.startswith((PUBLIC, RHYMES))]
    return next((file for file in files if file.is_file()), None)


def _excerpts(path: Path, characters: int) -> Path:
    """The same rows, each text cut between paragraphs; one whose first paragraph is too long keeps all of it."""
    excerpts = path.with_name(f"{path.stem}-{characters}.jsonl")
    if not excerpts.is_file():
        lines = []
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            first, *others = row["text"].split("\n\n")
            for paragraph in others:
                if len(first) + 2 + len(paragraph) > characters:
                    break
                first = f"{first}\n\n{paragraph}"
            lines.append(json.dumps({**row, "text": first}, ensure_ascii=False) + "\n")
        write_atomically(excerpts, "".join(lines))
    return excerpts


_FIELDS = {"brief": "brief", "form": "form", "language": "language"}
"""Field of creative writing → column, in the fetched sets and in the rhymes."""


def _local(source: DocumentSource, folder: Path, progress: RowProgress) -> str:
    """The path that is read: that of the source itself, or of the file that was fetched or made for it."""
    if source.path.startswith(RHYMES):
        return str(_made(source.path, folder))
    if not source.path.startswith(PUBLIC):
        return source.path
    name, path = source.path.removeprefix(PUBLIC), _file(source.path, folder)
    if name not in SETS:
        raise InputError("data_fetch_unknown", found=name, nearest=nearest(name, SETS))
    instead = _file(source.otherwise, folder) if source.otherwise.startswith(RHYMES) else None
    # A run keeps to what it began with: the network may be back by now.
    if instead is not None and instead.is_file():
        return str(instead)
    if path.is_file():
        return str(path)
    try:
        fetch(name, path, progress=progress)
    except CinquainError as error:
        if not source.otherwise:
            raise
        progress.tell(error)
        progress.say("pretrain_otherwise", wanted=source.path, taken=source.otherwise)
        return _local(source.model_copy(update={"path": source.otherwise, "otherwise": ""}), folder, progress)
    return str(path)


def _file(path: str, folder: Path) -> Path:
    return folder / f"{path.removeprefix(PUBLIC).replace(':', '-')}.jsonl"


def _made(path: str, folder: Path) -> Path:
    """The file of rhymes, written where it is not there yet."""
    file = _file(path, folder)
    _, _, number = path.partition(":")
    if not (number or "5000").isdecimal():
        raise InputError("pretrain_rhymes", found=path)
    if not file.is_file():
        rows = rhymes(int(number or 5000))
        write_atomically(file, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    return file
