"""What decides a prepared data set: two runs that share it write the same bytes, so one may finish the other's work."""

import hashlib
import json
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from finetune.data import steps
from finetune.data.config import DataConfig
from finetune.data.ledger import SCHEMA_VERSION
from finetune.data.rendering import Renderer
from finetune.data.sources import OpenSource
from pipelines.provenance import environment

__all__ = ["identity"]


def identity(config: DataConfig, sources: Iterable[OpenSource], renderer: Renderer) -> str:
    """A hash over everything that decides the result: sha256, in hexadecimal.

    Where the files lie and how many processes work is no part of it.

    Args:
        config: What is to be done.
        sources: The opened sources, with the hashes of their content.
        renderer: How the model reads rows.
    """
    settings = config.model_dump(mode="json")
    for source, opened in zip(settings["sources"], sources, strict=True):
        source.update(path="", name=opened.name, format=opened.format, sha256=opened.sha256)
    parts: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "cinquain": environment()["cinquain"],
        "config": settings,
        "steps": steps.identity(config),
        "reading": _reading(renderer),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _reading(renderer: Renderer) -> dict[str, Any]:
    tokenizer = renderer.tokenizer
    template = getattr(tokenizer, "chat_template", None)
    return {
        "prompt": renderer.prompt.digest(json.dumps(template)),
        "tokenizer": _tokenizer_sha256(tokenizer),
        "context": renderer.context,
        "packages": {name: version(name) for name in ("tokenizers", "transformers")},
    }


def _tokenizer_sha256(tokenizer: Any) -> str:
    """Of what a tokenizer is made of; of the files of its vocabulary where it is written in Python."""
    if tokenizer.is_fast:
        return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(tokenizer.save_vocabulary(folder)):
            digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()
