"""The steps that look at one row at a time, in their order."""

import hashlib
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from finetune.data.cleaning import normalize, repair
from finetune.data.config import DataConfig
from finetune.data.filters import language_filter, length_filter
from finetune.data.overlap import overlap_filter
from finetune.data.personal import personal_data
from finetune.data.row import Step

__all__ = ["identity", "steps"]


def steps(config: DataConfig) -> list[tuple[str, Step]]:
    """The steps that are on, with their names.

    Raises:
        InputError: A file of benchmark rows cannot be read, or a language is none.
    """
    task = config.task
    found: list[tuple[str, Step]] = []
    if config.repair:
        found.append(("repair", partial(repair, task=task)))
    if config.normalize:
        found.append(("normalize", partial(normalize, task=task)))
    if config.lengths:
        found.append(("lengths", length_filter(config.lengths, task)))
    if config.language:
        found.append(("language", language_filter(config)))
    if config.personal_data != "keep":
        found.append(("personal_data", personal_data(config)))
    if config.overlap:
        found.append(("overlap", overlap_filter(config.overlap, task)))
    return found


def identity(config: DataConfig) -> dict[str, Any]:
    """What decides the result beside the configuration and the rows: libraries, and the benchmark files' content."""
    packages = ("ftfy", "py3langid", "phonenumbers", "python-stdnum", "rensa", "xxhash")
    files = [Path(name) for name in config.overlap if Path(name).is_file()]
    return {
        "packages": {name: version(name) for name in packages},
        "overlap": {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }
