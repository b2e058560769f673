"""Translation: a text of any length into another language, its structure kept, its numbers and placeholders checked."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from pipelines.engines.base import Call, Completion, Message
from pipelines.errors import InputError
from pipelines.generation import GenerationOptions
from pipelines.prompts import Prompt
from pipelines.requests import TaskRequest, Text, validate
from pipelines.tasks.base import Run, Step, Steps, Stopped, Task
from pipelines.text.languages import (
    close_languages,
    closest,
    detect,
    language_name,
    parse_language,
    same_language,
    without_spaces,
)
from pipelines.text.preamble import one_line, strip_preamble
from pipelines.text.protect import has_words, missing, protected
from pipelines.text.split import Piece, blocks, flow, group, sentences, waves

__all__ = ["Translation", "TranslationRequest"]

CHUNK_TOKENS = 200
"""Tokens of a chunk: about 150 English words, a paragraph. Enough for a pronoun to find its noun; in longer passages
small models leave sentences out, most of all those that learned from single sentences (NLLB, Marian: 512 positions)."""

REPLY_FACTOR, REPLY_EXTRA = 4, 32
"""A reply may take 4 tokens for each token of the source, and 32. Finnish or Thai in an English-first
vocabulary take 3 to 4."""

SMALLEST_CHUNK = 8
"""Tokens; a context that leaves less for a chunk cannot hold a sentence, and the prompt counts as too long."""

WAVES = (1, 2, 4, 8, 16)
"""Chunks of each wave of calls, the last repeated: the first text comes as soon as one chunk can, the rest
runs as batches."""

SURE_OF_OUTPUT, SHORTEST_JUDGED = 0.9, 24
"""Confidence and characters from which the language of one translated chunk is worth an alarm; names alone stay
below."""

Term = Annotated[str, Field(min_length=1)]


def _parsed_source(name: str) -> str:
    return "auto" if name.strip().lower() == "auto" else parse_language(name)


class TranslationRequest(TaskRequest):
    """What to translate, and how."""

    text: Text
    source: Annotated[str, AfterValidator(_parsed_source)] = "auto"
    """Tag or name of the language; ``auto`` detects it."""
    target: Annotated[str, AfterValidator(parse_language)]
    """Tag or name of the language to translate into."""
    formality: Literal["default", "formal", "informal"] = "default"
    glossary: dict[Term, Term] = Field(default_factory=dict)
    """Terms of the source and how they are to be translated."""


@dataclass
class _Chunk:
    """What one call translates."""

    piece: Piece
    core: str
    tail: str
    """Blank space behind the core, up to the next chunk."""
    request: TranslationRequest
    checked: bool
    """Whether something must be found again in the output."""


class Translation(Task[TranslationRequest]):
    """Translates by sentence groups; paragraphs, indentation, blank lines and list markers never reach the model."""

    name: ClassVar[str] = "translation"
    request_type = TranslationRequest
    defaults: ClassVar[GenerationOptions] = GenerationOptions(
        max_new_tokens=1024, temperature=0.0, top_p=1.0, repetition_penalty=1.0
    )
    metrics: ClassVar[tuple[str, ...]] = ("chrf", "bleu", "ter", "wrong_language", "copy", "kept", "empty")
    text_fields: ClassVar[tuple[str, ...]] = ("text", "glossary")

    def fields_from_text(self, text: str) -> dict[str, Any]:
        """The text; the target language has to be named beside it."""
        return {"text": text}

    def messages(self, request: TranslationRequest, prompt: Prompt) -> list[Message]:
        """The conversation for a text that fits into one call."""
        return self._messages(request, prompt, [])

    def parse(self, reply: str, request: TranslationRequest, *, complete: bool = True) -> str:
        """The translation in a reply; a text of one line has a translation of one line."""
        answer = strip_preamble(reply, complete, source=request.text)
        if "\n" in request.text.strip():
            return answer
        return one_line(answer, complete)

    def steps(self, request: TranslationRequest, run: Run) -> Steps:
        """Translate chunk by chunk, check what came back, keep everything else as it is."""
        source = self._source(request, run)
        wrong: dict[str, list[tuple[int, int]]] = {}
        position, undone = 0, None
        try:
            for wave in waves(self._pieces(request, source, run), WAVES, lambda item: isinstance(item, _Chunk)):
                position = next((item.piece.start for item in wave if isinstance(item, _Chunk)), position)
                undone = yield from self._wave(wave, request.text, run, wrong)
                if undone is not None:
                    break
        except GeneratorExit:
            undone = position
            raise
        finally:
            end = len(request.text)
            if undone is not None and undone < end:
                run.note("not_translated", span=(undone, end), start=undone, end=end, characters=end - undone)
            for found, spans in wrong.items():
                place = (spans[0][0], spans[-1][1])
                target = request.target
                run.note("wrong_language", span=place, expected=target, found=found, parts=len(spans), spans=spans)

    def from_row(self, row: Mapping[str, Any]) -> tuple[TranslationRequest, str]:
        """Rows with source, target, src_lang, tgt_lang; text, translation; or translation: {"en": …, "fr": …}."""
        pair = row.get("translation")
        if isinstance(pair, Mapping) and len(pair) == 2:
            (source, text), (target, translation) = pair.items()
        elif isinstance(row.get("source"), str) and isinstance(row.get("target"), str):
            text, translation = row["source"], row["target"]
            source, target = row.get("src_lang"), row.get("tgt_lang")
        elif isinstance(row.get("text"), str) and isinstance(pair, str):
            text, translation = row["text"], pair
            source, target = row.get("src_lang") or row.get("source"), row.get("tgt_lang") or row.get("target")
        else:
            raise _row_error(row)
        if not target:
            found = detect(translation)
            if found is None:
                raise _row_error(row)
            target = found[0]
        fields = {"text": text, "source": source or "auto", "target": target}
        fields |= {name: row[name] for name in ("formality", "glossary") if row.get(name)}
        return validate(TranslationRequest, fields, self.name), translation

    def _messages(self, request: TranslationRequest, prompt: Prompt, keep: list[str]) -> list[Message]:
        fields = {
            **request.model_dump(),
            "source_name": "" if request.source == "auto" else language_name(request.source),
            "target_name": language_name(request.target),
            "glossary": _used_terms(request),
            "keep": keep,
        }
        return prompt.messages(fields, examples=closest(request.target, tuple(prompt.examples)))

    def _source(self, request: TranslationRequest, run: Run) -> str:
        """Tag of the source language, ``auto`` where it stays unknown."""
        source = request.source
        if source == "auto":
            found = detect(request.text)
            if found is None:
                run.note("source_unsure", target=request.target)
                return source
            source = found[0]
            run.note("source_detected", language=source, confidence=round(found[1], 2))
        # Simplified into traditional Chinese or British into American English is a translation; a detector sees none.
        if source == request.target or ("-" not in request.target and same_language(source, request.target)):
            run.note("same_language", language=request.target)
        return source

    def _pieces(self, request: TranslationRequest, source: str, run: Run) -> list[Piece | _Chunk]:
        """The whole text in order: pieces that are copied, chunks that are translated."""
        text, count = request.text, run.engine.count_tokens
        empty = request.model_copy(update={"text": "", "source": source, "glossary": {}})
        room = run.room(self._messages(empty, run.prompt, []), empty)
        budget = min(CHUNK_TOKENS, room.text(REPLY_FACTOR, REPLY_EXTRA))
        if budget < SMALLEST_CHUNK:
            raise run.too_long(room, SMALLEST_CHUNK)
        language = "en" if source == "auto" else source
        pieces: list[Piece | _Chunk] = []
        read: list[Piece] = []
        found = blocks(text)
        for block in found:
            parts = group(text, sentences(text, block, language), count, budget) if block.kind == "text" else []
            read += parts
            if not parts:
                pieces.append(block)
            for part in parts:
                core, tail = _parted(text, part, request.target, last=part.end == block.end)
                if not has_words(core):
                    pieces.append(part)  # numbers and addresses only: copied
                    continue
                of_chunk = request.model_copy(update={"text": core, "source": source})
                terms = _used_terms(of_chunk)
                of_chunk = of_chunk.model_copy(update={"glossary": terms})
                pieces.append(_Chunk(part, core, tail, of_chunk, checked=bool(protected(core) or terms)))
        if len(read) > 1:
            bounds = [0, *(part.start for part in read[1:]), len(text)]
            spans = list(pairwise(bounds))
            run.note("text_split", parts=len(read), characters=len(text), spans=spans)
        read_blocks = [block for block in found if block.kind == "text"]
        if wrapped := [(block.start, block.end) for block in read_blocks if flow(block.of(text)) != block.of(text)]:
            run.note("lines_joined", span=(wrapped[0][0], wrapped[-1][1]), parts=len(wrapped), spans=wrapped)
        if cut := [(part.start, part.end) for part in read if part.code == "sentence_split"]:
            run.note("sentence_split", span=(cut[0][0], cut[-1][1]), parts=len(cut), tokens=budget, spans=cut)
        return pieces

    def _wave(
        self, items: list[Piece | _Chunk], text: str, run: Run, wrong: dict[str, list[tuple[int, int]]]
    ) -> Generator[Step | str, list[Completion], int | None]:
        """Translate the chunks of a wave together and settle everything in order.

        Returns:
            None, or where the request was stopped: the first character of the source that has no complete translation.
        """
        while items and isinstance(items[0], Piece):
            yield items[0].of(text)
            items = items[1:]
        chunks = [item for item in items if isinstance(item, _Chunk)]
        if not chunks:
            return None
        live = len(chunks) == 1 and not chunks[0].checked
        show = partial(self._shown, chunks[0].request) if live else None
        stopped = False
        try:
            completions = yield Step([self._call(chunk, run, []) for chunk in chunks], show)
        except Stopped as stop:
            completions, stopped = stop.completions, True
        outputs = [self.parse(done.text, chunk.request) for chunk, done in zip(chunks, completions, strict=True)]
        if not live and not stopped and run.engine.follows_instructions:
            stopped = yield from self._retry(chunks, outputs, completions, run)
        results = iter(zip(outputs, completions, strict=True))
        for item in items:
            if isinstance(item, Piece):
                yield item.of(text)
                continue
            output, completion = next(results)
            if completion.finish_reason in ("deadline", "cancelled"):
                yield "" if live else output
                return item.piece.start
            self._judge(item, output, completion, run, wrong)
            yield (output if not live else "") or ("" if output else item.core)
            yield item.tail
        last = items[-1] if isinstance(items[-1], Piece) else items[-1].piece
        return last.end if stopped else None

    def _shown(self, request: TranslationRequest, reply: str, complete: bool) -> str:
        return self.parse(reply, request, complete=complete)

    def _retry(
        self, chunks: list[_Chunk], outputs: list[str], completions: list[Completion], run: Run
    ) -> Generator[Step, list[Completion], bool]:
        """Ask once more where something was lost, naming it; the better of the two outputs stays in the lists.

        Returns:
            Whether the request was stopped meanwhile; the first outputs stand then.
        """
        lost = [_lost(chunk, output) for chunk, output in zip(chunks, outputs, strict=True)]
        again = [index for index, found in enumerate(lost) if chunks[index].checked and any(found)]
        if not again:
            return False
        calls = [self._call(chunks[index], run, [*lost[index][0], *lost[index][1].values()]) for index in again]
        try:
            retried = yield Step(calls)
        except Stopped:
            return True
        for index, completion in zip(again, retried, strict=True):
            output = self.parse(completion.text, chunks[index].request)
            if output and sum(map(len, _lost(chunks[index], output))) < sum(map(len, lost[index])):
                outputs[index], completions[index] = output, completion
        return False

    def _call(self, chunk: _Chunk, run: Run, keep: list[str]) -> Call:
        wanted = REPLY_FACTOR * run.engine.count_tokens(chunk.core) + REPLY_EXTRA
        limit = min(wanted, run.options.max_new_tokens or wanted)
        messages = self._messages(chunk.request, run.prompt, list(dict.fromkeys(keep)))
        return run.call(messages, chunk.request, max_new_tokens=limit)

    def _judge(
        self, chunk: _Chunk, output: str, completion: Completion, run: Run, wrong: dict[str, list[tuple[int, int]]]
    ) -> None:
        """Note what there is to say of a chunk's translation."""
        span = (chunk.piece.start, chunk.piece.end)
        place = {"start": span[0], "end": span[1]}
        if not output:
            run.note("translation_empty", span=span, **place)
            return
        if completion.finish_reason == "length":
            run.note("translation_cut", span=span, tokens=completion.completion_tokens, **place)
        if chunk.checked:
            things, terms = _lost(chunk, output)
            if things:
                run.note("translation_lost", span=span, missing=things, **place)
            if terms:
                wanted = [f"{term} → {translation}" for term, translation in terms.items()]
                run.note("glossary_unused", span=span, terms=wanted, **place)
        found = detect(output) if len(output) >= SHORTEST_JUDGED else None
        if found and found[1] >= SURE_OF_OUTPUT and not close_languages(found[0], chunk.request.target):
            wrong.setdefault(found[0], []).append(span)


def _lost(chunk: _Chunk, output: str) -> tuple[list[str], dict[str, str]]:
    """Protected things and glossary terms that an output lacks."""
    folded = output.casefold()
    terms = {term: wanted for term, wanted in chunk.request.glossary.items() if wanted.casefold() not in folded}
    return missing(chunk.core, output), terms


def _used_terms(request: TranslationRequest) -> dict[str, str]:
    """The glossary as far as the text uses it: one of hundreds of terms costs no more than these."""
    folded = request.text.casefold()
    return {term: wanted for term, wanted in request.glossary.items() if term.casefold() in folded}


def _parted(text: str, part: Piece, target: str, *, last: bool) -> tuple[str, str]:
    """What a model reads of a chunk, and the blank space that parts its translation from the next chunk's."""
    raw = part.of(text)
    core = flow(raw.strip())
    if last:
        return core, ""
    if without_spaces(target):
        return core, ""
    return core, raw[len(raw.rstrip()) :].replace("\n", " ") or " "


def _row_error(row: Mapping[str, Any]) -> InputError:
    expected = "source, target, src_lang, tgt_lang; or text, translation, tgt_lang; or translation with two languages"
    return InputError("row_columns", task="translation", expected=expected, found=list(row))
