"""Rows with planted defects, a model to count them with, and a program that prepares them and may be killed."""

import json
import random
from pathlib import Path
from typing import Any

from finetune.data import DataConfig, Source
from finetune.data.fetch import SETS
from finetune.data.prepare import prepare
from tests.doubles.tiny import tiny_llama, tiny_tokenizer

WORDS = ["river", "stone", "lamp", "garden", "window", "morning", "silver", "letter", "walks", "quietly", "under", "a"]


def counting_model(folder: Path) -> Path:
    """A model folder whose tokenizer counts rows; its weights are never read."""
    tokenizer = tiny_tokenizer([" ".join(WORDS)])
    tokenizer.save_pretrained(folder)
    tiny_llama(len(tokenizer)).save_pretrained(folder)
    return folder


def sentence_of(draw: random.Random, words: int = 12) -> str:
    return " ".join(draw.choices(WORDS, k=words)) + f" {draw.randrange(10**9)}."


def plain_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of a summarization set that no step has anything against."""
    draw = random.Random(seed)
    return [{"text": f"{sentence_of(draw)} {sentence_of(draw)}", "summary": sentence_of(draw)} for _ in range(count)]


def write_lines(path: Path, lines: list[Any]) -> Path:
    """A JSONL file; bytes stand for lines that are no JSON."""
    data = [line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode() for line in lines]
    path.write_bytes(b"\n".join(data) + b"\n")
    return path


def planted(count: int = 150) -> list[Any]:
    """Rows of which some are broken, double, nearly double, empty, in a wrong encoding, or hold personal data."""
    rows: list[Any] = plain_rows(count)
    rows[7] = b"{broken"
    rows[20] = b"[1, 2]"
    rows[33] = b'{"text": "\xff", "summary": "x"}'
    rows[41] = {"text": rows[40]["text"], "summary": rows[40]["summary"]}
    rows[52] = {"text": rows[50]["text"] + " Yes.", "summary": rows[50]["summary"]}
    rows[60] = {"text": "  ", "summary": "nothing"}
    rows[70]["summary"] += " Write to anna.smith@example.org."
    rows[80]["text"] += " CafÃ©s are open."
    rows[90] = {"headline": "x", "body": "y"}
    rows[100]["text"] += "\r\nA last line.  "
    return rows


def configured(model: Path, *paths: Path | Source, **changes: Any) -> DataConfig:
    """A configuration for files of the summarization task."""
    sources = [path if isinstance(path, Source) else Source(path=str(path)) for path in paths]
    return DataConfig(**{"task": "summarization", "sources": sources, "model": str(model), **changes})


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def prepared_rows(name: str, rows: Path, model: Path, out: Path) -> list[dict[str, Any]]:
    """The rows as preparation takes them over, without a word on their columns."""
    config = DataConfig(
        task=SETS[name].task, sources=[Source(path=str(rows))], model=str(model), max_tokens=8000, language=False
    )
    ledger = prepare(config, out)
    assert ledger.problems() == []
    assert ledger.dropped() == {}
    return [
        row
        for part in ("train", "validation")
        if (out / f"{part}.jsonl").exists()
        for row in lines_of(out / f"{part}.jsonl")
    ]


def content(out: Path) -> dict[str, Any]:
    """Everything that a preparation wrote, without what depends on the time and on the machine."""
    files = {path.name: path.read_bytes() for path in out.iterdir() if path.name not in ("ledger.json", "ledger.html")}
    ledger = json.loads((out / "ledger.json").read_bytes())
    del ledger["provenance"]
    return {**files, "ledger.json": ledger}
