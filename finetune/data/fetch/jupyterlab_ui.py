"""What JupyterLab and its extensions say to people, as their volunteers translated it from English."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from finetune.data.fetch.archives import Wheel
from finetune.data.fetch.description import Pin, PublicSet
from pipelines.text.protect import has_words, missing

__all__ = ["JUPYTERLAB_UI"]

_FOLDER = "/LC_MESSAGES/"
_CONTEXT = "\x04"
"""Gettext puts it between a context ("menu") and the message."""


def _rows(wheels: Sequence[Wheel], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """One row per message and language.

    The column ``doc`` names the English message, so that its translations stay on one side of a train/test split.
    Of a plural the first form is taken: its English side is the singular, the only one that the file has.
    """
    for wheel in wheels:
        members = [name for name in wheel.members() if _FOLDER in name and name.endswith(".json")]
        if not members:
            raise wheel.unexpected(_FOLDER.strip("/"), "no translations in JSON")
        seen: set[tuple[str, str]] = set()
        for member in members:
            for source, target in _messages(wheel, member):
                if reason := _unfit(source, target) or ("repeated" if (source, target) in seen else ""):
                    left_out[reason] += 1
                    continue
                seen.add((source, target))
                yield {
                    "source": source,
                    "target": target,
                    "src_lang": "en",
                    "tgt_lang": wheel.language,
                    "doc": hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:16],
                    "file": PurePosixPath(member).stem,
                }


def _messages(wheel: Wheel, member: str) -> Iterator[tuple[str, str]]:
    table = wheel.json(member)
    if not isinstance(table, dict):
        raise wheel.unexpected(member, "it is no object of messages")
    for key, forms in table.items():
        if key == "":  # language, domain and plural rule
            continue
        if not (isinstance(forms, list) and forms and isinstance(forms[0], str)):
            raise wheel.unexpected(member, f"the message {key[:40]!r} has no list of translations")
        yield key.rpartition(_CONTEXT)[2].strip(), forms[0].strip()


def _unfit(source: str, target: str) -> str:
    """Why a pair teaches nothing or something wrong; empty where it is fit."""
    if not target:
        return "empty"
    if not has_words(source):
        return "no_words"
    if source == target:
        return "untranslated"
    return "placeholder_lost" if missing(source, target) else ""


def _pin(code: str, language: str, sha256: str, size: int) -> Pin:
    return Pin(f"jupyterlab-language-pack-{code}==4.5.post3", sha256, size, language)


JUPYTERLAB_UI = PublicSet(
    name="jupyterlab-ui",
    task="translation",
    licence="BSD-3-Clause",
    languages=("en", "de", "es", "fr", "it", "ja", "pt-BR", "ru", "zh-CN"),
    rows=12_000,
    read=_rows,
    pins=(
        _pin("de-DE", "de", "b716b56f7e0c884f42152d5e36c253ea0f32ca41f99097d842d3934f4a4bc7fb", 68_327),
        _pin("es-ES", "es", "8b315de006bc48d5798988cff6141f00694e411265011ea21570b4f459070381", 64_333),
        _pin("fr-FR", "fr", "9f6ce9d4e64b367ff084a2313af29d6ad8a02d1d08000f3e6c53e2856fa9a11f", 222_292),
        _pin("it-IT", "it", "7c1454449f44d635e96245af3905626f205761d304bc9537e0c77aa46634ea6a", 59_115),
        _pin("ja-JP", "ja", "f3fe9d9228f79fa5b289bb271564e106b75c21be79e7874a658ad2aa50901299", 112_408),
        _pin("pt-BR", "pt-BR", "15bad442fd7180d05f99f89b452cf493a3f6ec51454f81d3a5531954e39439b6", 72_506),
        _pin("ru-RU", "ru", "d294daf163b0df9bdd14012b574ff311f1f4a166524b38469e90e26eb2c380f6", 199_671),
        _pin("zh-CN", "zh-CN", "47cdb0c41c6b066e795c867786c9c29fde527e2bf15aa6b3e9b2bab9929304b5", 224_581),
    ),
)
