"""Documents collected, cleaned, counted and divided, in shards that a killed run keeps.

A shard is a JSONL file (``id``, ``text``, ``held_out``) and, written after it, the account of everything up to its
end. The same command goes on behind the last shard that has its account.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

from finetune.data.cleaning import normalized, repaired
from finetune.data.personal import find
from finetune.data.progress import RowProgress
from finetune.data.sources import OpenSource
from finetune.pretraining.recipe import DocumentsConfig, DocumentSource
from pipelines.errors import InputError
from pipelines.home import write_atomically

__all__ = ["Account", "collect", "documents", "read_accounts"]

SCHEMA_VERSION = 1
SHARD_CHARACTERS = 16_000_000
"""Text of a shard: some seconds of work are lost by a kill."""
PART_CHARACTERS = 4_000
"""A plain text file is cut, between paragraphs, into documents of about this length, so that a part of it can be held
out."""


@dataclass
class Account:
    """What became of the documents of a source. ``read`` = ``train`` + ``held_out`` + all that were dropped.

    Attributes:
        name: Name of the source.
        sha256: Hash of its content.
        read: Documents that it holds.
        train: Documents to learn from.
        held_out: Documents to judge by.
        dropped: Reason → how many.
        changed: Kind of change → how many documents were changed so and kept.
        characters: Of the documents that were kept.
    """

    name: str
    sha256: str
    read: int = 0
    train: int = 0
    held_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    characters: int = 0


def collect(
    config: DocumentsConfig, sources: list[tuple[DocumentSource, OpenSource]], folder: Path, progress: RowProgress
) -> list[Account]:
    """Collect the documents into ``folder``; what is there whole is not read again.

    Args:
        config: What is done with them.
        sources: Opened sources, beside what the recipe says of each.
        folder: Where the shards go; ``documents.json`` comes last.
        progress: Says what goes on.

    Raises:
        InputError: ``pretrain_no_documents`` or ``pretrain_nothing_held_out``, with the account in words; a source
            cannot be read.
        CinquainError: The disk is full.
    """
    if accounts := read_accounts(folder):
        return accounts
    progress.say("pretrain_collecting", sources=[opened.name for _, opened in sources])
    state = _Collection(config, folder)
    place, records = state.resume([Account(opened.name, opened.sha256) for _, opened in sources])
    for number in range(place, len(sources)):
        described, opened = sources[number]
        texts = _texts(described, opened)
        start = records if number == place else 0
        for count, document in enumerate(islice(texts, start, None), start + 1):
            state.take(number, *document)
            if state.size >= SHARD_CHARACTERS:
                state.close_shard(number, count)
        state.close_shard(number + 1, 0)
    for account in state.accounts:
        assert account.read == account.train + account.held_out + sum(account.dropped.values()), account
    kept = {name: sum(getattr(account, name) for account in state.accounts) for name in ("train", "held_out")}
    if not kept["train"] or not kept["held_out"]:
        code = "pretrain_nothing_held_out" if kept["train"] else "pretrain_no_documents"
        dropped = sum((Counter(account.dropped) for account in state.accounts), Counter())
        read = sum(account.read for account in state.accounts)
        raise InputError(code, read=read, train=kept["train"], dropped=_words(dropped))
    content = {"schema_version": SCHEMA_VERSION, "shards": state.shards, "sources": list(map(asdict, state.accounts))}
    write_atomically(folder / "documents.json", json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return state.accounts


def read_accounts(folder: Path) -> list[Account]:
    """The accounts of documents that were collected whole; none where they were not."""
    path = folder / "documents.json"
    return [Account(**each) for each in json.loads(path.read_bytes())["sources"]] if path.is_file() else []


def documents(folder: Path, part: str, shard: int | None = None) -> Iterator[str]:
    """Texts of the documents of a part, ``train`` or ``held_out``, of all shards or of one."""
    shards = json.loads((folder / "documents.json").read_bytes())["shards"]
    for number in range(shards) if shard is None else (shard,):
        with (folder / f"{number:05d}.jsonl").open("rb") as file:
            for line in file:
                document = json.loads(line)
                if document["held_out"] == (part == "held_out"):
                    yield document["text"]


class _Collection:
    """Shards as they are written.

    Attributes:
        accounts: One for each source.
        shards: Shards that are done.
        size: Characters that wait for the next one.
    """

    def __init__(self, config: DocumentsConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.accounts: list[Account] = []
        self.shards, self.size = 0, 0
        self._lines: list[str] = []
        self._seen: set[bytes] = set()

    def resume(self, fresh: list[Account]) -> tuple[int, int]:
        """Go on from the last shard that has its account.

        Args:
            fresh: Accounts to begin with.

        Returns:
            The number of the source to go on with, and how many of its documents were read.
        """
        self.accounts, place, records = fresh, 0, 0
        while (account := self.folder / f"{self.shards:05d}.json").is_file():
            state = json.loads(account.read_bytes())
            found = [Account(**each) for each in state["sources"]]
            if [each.sha256 for each in found] != [each.sha256 for each in fresh]:
                break  # a source has changed since: from the beginning
            self.accounts, place, records = found, state["place"], state["records"]
            with (self.folder / f"{self.shards:05d}.jsonl").open("rb") as file:
                self._seen.update(_digest(json.loads(line)["text"]) for line in file)
            self.shards += 1
        else:
            return place, records
        self.accounts, self.shards = fresh, 0
        self._seen.clear()
        return 0, 0

    def take(self, place: int, name: str, group: str, text: str | None, problem: str) -> None:
        """Clean one document of the source number ``place``, and keep or drop it."""
        account = self.accounts[place]
        account.read += 1
        changes: set[str] = set()
        if text is not None:
            text, problem = self._cleaned(text, changes)
        if text is None:
            account.dropped[problem] = account.dropped.get(problem, 0) + 1
            return
        for change in changes:
            account.changed[change] = account.changed.get(change, 0) + 1
        account.characters += len(text)
        place_of = hashlib.blake2b(f"{self.config.seed}\0{group or name}".encode(), digest_size=8).digest()
        held_out = int.from_bytes(place_of, "big") < self.config.held_out * 2**64
        account.held_out += held_out
        account.train += not held_out
        self._lines.append(json.dumps({"id": name, "text": text, "held_out": held_out}, ensure_ascii=False) + "\n")
        self.size += len(text)

    def close_shard(self, place: int, records: int) -> None:
        """Write what waits, and the account up to here: ``records`` of the source number ``place`` are done."""
        path = self.folder / f"{self.shards:05d}"
        write_atomically(path.with_suffix(".jsonl"), "".join(self._lines), private=True)
        state = {"place": place, "records": records, "sources": list(map(asdict, self.accounts))}
        write_atomically(path.with_suffix(".json"), json.dumps(state, ensure_ascii=False) + "\n")
        self._lines, self.size, self.shards = [], 0, self.shards + 1

    def _cleaned(self, text: str, changes: set[str]) -> tuple[str | None, str]:
        """The document as it is kept; None and the reason where it is dropped."""
        try:
            text.encode()
        except UnicodeEncodeError:
            return None, "not_unicode"
        fixed = repaired(text)
        if fixed != text:
            changes.add("mojibake")
        text = normalized(fixed, changes)
        if len(text) < self.config.min_characters:
            return None, "too_short"
        if self.config.personal_data == "redact":
            text = _redacted(text, changes)
        digest = _digest(text)
        if digest in self._seen:
            return None, "duplicate"
        self._seen.add(digest)
        return text, ""


def _texts(described: DocumentSource, opened: OpenSource) -> Iterator[tuple[str, str, str | None, str]]:
    """(id, group, text, "") of each document, or (id, group, None, what is wrong with it)."""
    if opened.format == "text":
        yield from _parts(opened)
        return
    for record in opened.records():
        data = record.data or {}
        text, group = data.get(described.column), data.get(described.group) if described.group else ""
        problem = record.problem or ("" if isinstance(text, str) else "no_text")
        named = f"{opened.name}:{group}" if group else ""
        yield record.id, named, text if isinstance(text, str) and not record.problem else None, problem


def _parts(opened: OpenSource) -> Iterator[tuple[str, str, str | None, str]]:
    """Paragraphs of a text file, put together to documents."""
    waiting: list[str] = []
    number = 0

    def part() -> tuple[str, str, str | None, str]:
        nonlocal number, waiting
        number += 1
        text, waiting = "\n\n".join(waiting), []
        return f"{opened.name}:{number}", "", text, ""

    for record in opened.records():
        if record.data is None:
            yield record.id, "", None, record.problem
            continue
        waiting.append(record.data["text"])
        if sum(map(len, waiting)) >= PART_CHARACTERS:
            yield part()
    if waiting:
        yield part()


def _redacted(text: str, changes: set[str]) -> str:
    """Without what ``finetune.data.personal`` finds in it."""
    parts, last = [], 0
    for start, end, kind in find(text):
        parts += [text[last:start], f"<{kind.upper()}>"]
        last = end
        changes.add(kind)
    return "".join([*parts, text[last:]])


def _digest(text: str) -> bytes:
    """16 bytes that stand for a text: a set of ten million of them takes about a gigabyte."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items())) or "–"
