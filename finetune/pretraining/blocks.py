"""Documents as one long row of tokens on disk, mapped into memory and read in blocks of one length.

Each document ends with a token of its own. Block i begins at token i * length and has one token more than that, so that
each of its tokens has one that follows. The row grows shard by shard of the documents; a state that is written after
each of them tells a killed run where to go on.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from finetune.pretraining.documents import documents
from pipelines.errors import CinquainError
from pipelines.home import disk_errors, write_atomically

__all__ = ["Blocks", "write_blocks"]

SCHEMA_VERSION = 1
_BATCH = 500


@dataclass(frozen=True)
class Blocks:
    """Blocks of a part.

    Attributes:
        tokens: All tokens, mapped, shape (tokens,).
        length: Tokens of a block that have a next one.
        text_bytes: Bytes (UTF-8) of the text that the tokens stand for.
        sha256: Hash of the file.
    """

    tokens: np.ndarray
    length: int
    text_bytes: int
    sha256: str

    @classmethod
    def open(cls, folder: Path, part: str, length: int) -> "Blocks":
        """Open the blocks that ``write_blocks`` wrote.

        Raises:
            CinquainError: ``blocks_broken`` where the file has other bytes than were written.
        """
        path = folder / f"{part}.bin"
        try:
            about = json.loads((folder / f"{part}.json").read_bytes())
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != about["sha256"]:
                raise ValueError(f"{path.name} has the hash {found[:12]}…, not {about['sha256'][:12]}…")
        except (OSError, ValueError, KeyError) as error:
            raise CinquainError("blocks_broken", path=str(folder), problem=str(error)) from error
        return cls(np.memmap(path, np.dtype(about["dtype"]), "r"), length, about["text_bytes"], about["sha256"])

    def __len__(self) -> int:
        return max(0, (len(self.tokens) - 1) // self.length)

    def __getitem__(self, places: Any) -> np.ndarray:
        """Blocks by their numbers: int64, shape (numbers, length + 1)."""
        starts = np.asarray(places, np.int64).reshape(-1, 1) * self.length
        return self.tokens[starts + np.arange(self.length + 1)].astype(np.int64)

    @property
    def bytes_per_token(self) -> float:
        """Bytes of text that a token stands for, on average."""
        return self.text_bytes / len(self.tokens)


def write_blocks(collected: Path, part: str, tokenizer: Any, end: int, folder: Path, length: int) -> Blocks:
    """Tokenize a part of the documents; what an earlier run has done stays.

    Args:
        collected: Folder of the collected documents.
        part: ``train`` or ``held_out``.
        tokenizer: Of ``tokenizers``.
        end: Id of the token that ends a document.
        folder: Where ``<part>.bin`` and, last, ``<part>.json`` go.
        length: Tokens of a block.

    Raises:
        CinquainError: The disk is full; ``pretrain_too_little`` where there is not one whole block.
    """
    if not (folder / f"{part}.json").is_file():
        _tokenize(collected, part, tokenizer, end, folder)
    blocks = Blocks.open(folder, part, length)
    if not len(blocks):
        raise CinquainError("pretrain_too_little", part=part, tokens=len(blocks.tokens), length=length)
    return blocks


def _tokenize(collected: Path, part: str, tokenizer: Any, end: int, folder: Path) -> None:
    # Two bytes a token where they suffice: half of what has to be read while training.
    kind = np.dtype(np.uint16 if tokenizer.get_vocab_size() <= 2**16 else np.uint32)
    path, state_path = folder / f"{part}.bin", folder / f"{part}.state.json"
    shards = json.loads((collected / "documents.json").read_bytes())["shards"]
    state = {"shards": 0, "bytes": 0, "text_bytes": 0, "documents": 0}
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if state_path.is_file() and path.is_file():
            state = json.loads(state_path.read_bytes())
        with path.open("r+b" if state["shards"] else "wb") as file:
            file.truncate(state["bytes"])  # what was written behind the last state is written anew
            file.seek(state["bytes"])
            for shard in range(state["shards"], shards):
                for tokens, size in _encoded(documents(collected, part, shard), tokenizer, end):
                    file.write(np.asarray(tokens, kind).tobytes())
                    state["text_bytes"] += size
                    state["documents"] += 1
                file.flush()
                state["shards"], state["bytes"] = shard + 1, file.tell()
                os.fsync(file.fileno())  # before a state says that it is there
                write_atomically(state_path, json.dumps(state) + "\n")
        with path.open("rb") as read:
            sha256 = hashlib.file_digest(read, "sha256").hexdigest()
    about = {
        "schema_version": SCHEMA_VERSION,
        "dtype": kind.name,
        "tokens": state["bytes"] // kind.itemsize,
        "documents": state["documents"],
        "text_bytes": state["text_bytes"],
        "sha256": sha256,
    }
    write_atomically(folder / f"{part}.json", json.dumps(about, indent=1) + "\n")
    state_path.unlink(missing_ok=True)


def _encoded(texts: Iterator[str], tokenizer: Any, end: int) -> Iterator[tuple[list[int], int]]:
    """(tokens, bytes of the text) of each document; many at once, which all cores share."""
    while batch := list(islice(texts, _BATCH)):
        for text, encoded in zip(batch, tokenizer.encode_batch_fast(batch, add_special_tokens=False), strict=True):
            yield [*encoded.ids, end], len(text.encode())
