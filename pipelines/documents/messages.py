"""Catalogs of messages (gettext .po): what is untranslated or fuzzy is translated, the rest is left alone."""

import gettext
from collections import Counter
from typing import Any

from pipelines.documents.parts import Parts, decoded, outer, refuse
from pipelines.generation import Note
from pipelines.text.protect import missing

__all__ = ["catalog"]

_ONE_FORM = {"zh", "ja", "ko", "vi", "th", "id", "ms", "lo", "km", "my"}
_PLURALS = {
    "fr": "nplurals=2; plural=(n > 1);",
    "pt-BR": "nplurals=2; plural=(n > 1);",
    "ru": "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2);",
    "uk": "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2);",
    "pl": "nplurals=3; plural=(n==1 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2);",
    "cs": "nplurals=3; plural=(n==1) ? 0 : (n>=2 && n<=4) ? 1 : 2;",
}


def catalog(data: bytes, name: str, target: str = "") -> Parts:
    """The messages of a catalog. A translation that lost a placeholder, or a form that must be inflected, is fuzzy."""
    import polib

    whole, notes = decoded(data, name)
    if "msgid" not in whole:
        raise refuse("document_damaged", name, "no msgid")
    try:
        file = polib.pofile(whole, wrapwidth=78)
    except (OSError, ValueError, IndexError) as error:
        raise refuse("document_damaged", name, str(error)[:200]) from None
    _header(file, target)
    forms, single = _forms(file, name)
    left: Counter[str] = Counter(obsolete=len(file.obsolete_entries()))
    places: list[tuple[Any, int | None, str]] = []
    for entry in file:
        if entry.obsolete:
            continue
        if entry.translated():
            left["translated"] += 1
            continue
        sources = [entry.msgid] if not entry.msgid_plural else [
            entry.msgid if index == single and forms > 1 else entry.msgid_plural for index in range(forms)
        ]  # fmt: skip
        for index, source in enumerate(sources):
            if source.strip():
                places.append((entry, index if entry.msgid_plural else None, source))

    def rebuild(texts: list[str]) -> bytes:
        for (entry, index, source), new in zip(places, texts, strict=True):
            before, _, after = outer(source)
            whole_new = before + new.strip() + after
            if index is None:
                entry.msgstr = whole_new
            else:
                entry.msgstr_plural[index] = whole_new
            entry.flags = [flag for flag in entry.flags if flag != "fuzzy"]
        for entry, index, source in places:
            done = entry.msgstr if index is None else entry.msgstr_plural[index]
            if (missing(source, done) or (entry.msgid_plural and forms > 2)) and "fuzzy" not in entry.flags:
                entry.flags.append("fuzzy")
        return (str(file) + "\n").encode()

    if forms > 2 and any(entry.msgid_plural for entry, *_ in places):
        notes.append(Note("document_plurals", {"forms": forms}))
    return Parts([outer(source)[1] for *_, source in places], rebuild, left, notes)


def _header(file: Any, target: str) -> None:
    if target:
        file.metadata["Language"] = target.replace("-", "_")
    file.metadata["Content-Type"] = "text/plain; charset=UTF-8"
    if "nplurals=INTEGER" in (said := file.metadata.get("Plural-Forms", "nplurals=INTEGER")) and target:
        base = target.partition("-")[0]
        one = "nplurals=1; plural=0;" if base in _ONE_FORM else "nplurals=2; plural=(n != 1);"
        file.metadata["Plural-Forms"] = _PLURALS.get(target) or _PLURALS.get(base) or one
    elif "INTEGER" in said:
        file.metadata["Plural-Forms"] = "nplurals=2; plural=(n != 1);"


def _forms(file: Any, name: str) -> tuple[int, int]:
    """How many forms of a plural there are, and which one stands for one thing."""
    fields = dict(part.strip().split("=", 1) for part in file.metadata["Plural-Forms"].split(";") if "=" in part)
    try:
        forms = int(fields["nplurals"])
        single = int(gettext.c2py(fields["plural"])(1))
    except (KeyError, ValueError, RecursionError) as error:
        raise refuse("document_damaged", name, f"Plural-Forms: {error}") from None
    if not 1 <= forms <= 6:
        raise refuse("document_damaged", name, f"Plural-Forms: {forms}")
    return forms, single
