"""Translate a document: each text once, in groups, and everything that needs a look in the notes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.documents.guarded import TRANSLATABLE, extract
from pipelines.errors import CinquainError, InputError
from pipelines.generation import Generation, Note, Usage
from pipelines.text.languages import detect, parse_language
from pipelines.text.protect import has_words

__all__ = ["Ask", "TranslatedDocument", "translate_document"]

Ask = Callable[[Sequence[Mapping[str, Any]]], Sequence[Generation | CinquainError]]
"""Answers translation requests, in their order: ``partial(pipeline.batch, errors="return")``."""
GROUP = 8
"""Texts between two reports of progress; a larger group fills a GPU better, and Stop acts as fast either way."""
_FOR_PARTS = {"translation_lost": "missing", "glossary_unused": "terms", "wrong_language": "found"}
_QUOTED = 40
_NAMED = 5
"""Places that a note quotes; the count tells of the rest."""


@dataclass
class TranslatedDocument:
    """A document in another language.

    Attributes:
        data: The file.
        name: ``letter.de.docx`` for ``letter.docx``.
        source: Tag of the language it was in, "" where that is unknown.
        pairs: Each text that was sent, and what stands for it now.
        notes: What was left, lost or doubted.
        usage: Tokens.
        complete: False where it was stopped: the texts behind stand as they were.
    """

    data: bytes
    name: str
    source: str
    pairs: list[tuple[str, str]]
    notes: list[Note] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    complete: bool = True


def translate_document(
    ask: Ask, data: bytes, name: str, *, target: str, source: str = "auto", **fields: Any
) -> Iterator[tuple[int, int] | TranslatedDocument]:
    """Translate a document part by part.

    Args:
        ask: What translates.
        data: The bytes of the file.
        name: Its name.
        target: Language to translate into.
        source: Language it is in.
        fields: Further fields and options of each translation request.

    Yields:
        (texts done, texts in all) as it goes on, at last the document.

    Raises:
        InputError: The file cannot be read (``document_…``), or no part could be translated.
    """
    target = parse_language(target)
    if Path(name).suffix.lower() not in {*TRANSLATABLE, ".markdown", ".text"}:
        raise InputError("document_format", path=name, known=list(TRANSLATABLE))
    found = extract(data, name, target=target)
    notes = list(found.notes)
    if source == "auto" and (guess := detect("\n".join(found.texts))):
        # Told from the whole: a cell of two words says nothing about its language.
        source = guess[0]
        notes.append(Note("source_detected", {"language": source, "confidence": round(guess[1], 2)}))
    wanted = list(dict.fromkeys(text for text in found.texts if has_words(text)))
    done: dict[str, str] = {}
    doubts: dict[tuple[str, str], list[str]] = {}
    read = written = 0
    complete = True
    yield 0, len(wanted)
    for start in range(0, len(wanted), GROUP):
        group = wanted[start : start + GROUP]
        answers = ask([{**fields, "text": text, "source": source, "target": target} for text in group])
        for text, answer in zip(group, answers, strict=True):
            if isinstance(answer, CinquainError):
                if len(wanted) == 1 or (start == 0 and all(isinstance(each, CinquainError) for each in answers)):
                    raise answer
                doubts.setdefault(("document_failed", ""), []).append(text)
                continue
            read, written = read + answer.usage.prompt_tokens, written + answer.usage.completion_tokens
            if answer.finish_reason in ("cancelled", "deadline"):
                complete = False
                continue
            done[text] = answer.text if answer.text.strip() else text
            _doubt(answer, text, doubts)
        if not complete:
            break
        yield len(done), len(wanted)
    texts = [done.get(text, text) for text in found.texts]
    notes += _notes(found.left, found.texts, len(wanted) - len(done) if not complete else 0, doubts)
    stem, suffix = Path(name).stem, Path(name).suffix
    out = found.rebuild(texts)
    yield TranslatedDocument(
        out, f"{stem}.{target}{suffix}", "" if source == "auto" else source,
        [(text, done[text]) for text in wanted if text in done], notes, Usage(read, written), complete,
    )  # fmt: skip


def _doubt(answer: Generation, text: str, doubts: dict[tuple[str, str], list[str]]) -> None:
    for note in answer.notes:
        if note.code in ("translation_empty", "translation_cut"):
            doubts.setdefault((note.code, ""), []).append(text)
        elif key := _FOR_PARTS.get(note.code):
            value = note.parameters[key]
            shown = value if isinstance(value, str) else ", ".join(map(str, value))
            doubts.setdefault((note.code, shown), []).append(text)


def _notes(
    left: Counter[str], texts: list[str], undone: int, doubts: dict[tuple[str, str], list[str]]
) -> Iterator[Note]:
    for kind, count in sorted((+left).items()):
        yield Note("document_left", {"kind": f"document_{kind}", "count": count})
    if copied := sum(not has_words(text) for text in texts):
        yield Note("document_left", {"kind": "document_numbers", "count": copied})
    if undone:
        yield Note("document_stopped", {"count": undone})
    for (code, value), places in doubts.items():
        quotes = [_quote(text) for text in places[:_NAMED]]
        if code == "translation_lost":
            yield Note("document_lost", {"missing": value, "count": len(places), "quotes": quotes})
        elif code == "glossary_unused":
            yield Note("document_glossary", {"terms": value, "count": len(places), "quotes": quotes})
        elif code == "wrong_language":
            yield Note("document_language", {"found": value, "count": len(places), "quotes": quotes})
        elif code == "translation_cut":
            yield Note("document_cut", {"count": len(places), "quotes": quotes})
        else:
            yield Note("document_failed", {"count": len(places), "quotes": quotes})


def _quote(text: str) -> str:
    flat = " ".join(text.split())
    return f"“{flat if len(flat) <= _QUOTED else flat[: _QUOTED - 1] + '…'}”"
