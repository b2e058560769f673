"""Summarization: one call for a short text; for a long one, summaries of its parts, then of those, until one."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from pipelines.engines.base import Completion, Message
from pipelines.errors import InputError
from pipelines.generation import GenerationOptions
from pipelines.prompts import Prompt
from pipelines.requests import TaskRequest, Text, validate
from pipelines.tasks.base import Run, Step, Steps, Stopped, Task
from pipelines.text.facts import unsupported
from pipelines.text.languages import close_languages, detect, language_name, parse_language
from pipelines.text.preamble import strip_preamble
from pipelines.text.split import Piece, blocks, group, sentences

__all__ = ["Summarization", "SummarizationRequest"]

CHUNK_TOKENS = 1200
"""Tokens of a part: about 900 English words, two pages. Small models lose what stands in the middle of
longer inputs, and models like BART and Pegasus read 1,024 positions at most (such an engine says so by its context)."""

PART_SHARE = 4
"""The summary of a part takes at most a fourth of a part, so that at least three fit together into the next call."""

LEAST_SHRINKAGE = 0.9
"""A level must be shorter than this share of the one below it: a model that repeats its input would never end."""

SHORTEST_JUDGED = 40
"""Characters of a summary from which its language can be told."""

Length = Literal["sentence", "short", "paragraph", "bullets"]


class SummarizationRequest(TaskRequest):
    """What to summarize, and how."""

    text: Text
    length: Length = "short"
    """``sentence``: one; ``short``: two or three; ``paragraph``: about five; ``bullets``: a list of points."""
    language: Annotated[str, AfterValidator(parse_language)] | None = None
    """Language of the summary; by default that of the text."""
    focus: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """What the summary should be about."""


@dataclass(frozen=True)
class _Part:
    """A summary on its way up the tree, and the characters of the source that it speaks of."""

    text: str
    span: tuple[int, int]


class Summarization(Task[SummarizationRequest]):
    """Summarizes a text of any length; what the summary brings in that the text lacks is listed."""

    name: ClassVar[str] = "summarization"
    request_type = SummarizationRequest
    defaults: ClassVar[GenerationOptions] = GenerationOptions(
        max_new_tokens=256, temperature=0.0, top_p=1.0, repetition_penalty=1.1
    )
    metrics: ClassVar[tuple[str, ...]] = (
        "rouge1", "rouge2", "rougeLsum", "unsupported", "compression", "coverage", "density", "novel_bigrams", "empty",
    )  # fmt: skip
    text_fields: ClassVar[tuple[str, ...]] = ("text", "focus")

    def fields_from_text(self, text: str) -> dict[str, Any]:
        """The text; everything else has a default."""
        return {"text": text}

    def messages(self, request: SummarizationRequest, prompt: Prompt) -> list[Message]:
        """The conversation for a text that fits into one call."""
        return self._messages(request, prompt, "user")

    def parse(self, reply: str, request: SummarizationRequest, *, complete: bool = True) -> str:
        """The summary in a reply."""
        return strip_preamble(reply, complete)

    def steps(self, request: SummarizationRequest, run: Run) -> Steps:
        """Summarize in one call, or part by part and level by level; then check the facts."""
        text = request.text
        try:
            final = yield from self._reduced(request, run)
            if final is None:
                self._note_stop(text, run)
                return
            result: str | None
            result, template = final
            if template:
                result = yield from self._live(result, template, request, run)
            else:
                yield result
        except GeneratorExit:
            self._note_stop(text, run)
            raise
        if result is None:
            self._note_stop(text, run)
        else:
            self._check(result, request, run)

    def from_row(self, row: Mapping[str, Any]) -> tuple[SummarizationRequest, str]:
        """Rows with source and target, document and summary, text and summary, or article and highlights."""
        pairs = (("source", "target"), ("document", "summary"), ("text", "summary"), ("article", "highlights"))
        for text, summary in pairs:
            if isinstance(row.get(text), str) and isinstance(row.get(summary), str):
                fields = {"text": row[text]} | {
                    name: row[name] for name in ("length", "language", "focus") if row.get(name)
                }
                return validate(SummarizationRequest, fields, self.name), row[summary]
        expected = "; or ".join(", ".join(pair) for pair in pairs)
        raise InputError("row_columns", task=self.name, expected=expected, found=list(row))

    def _messages(self, request: SummarizationRequest, prompt: Prompt, template: str) -> list[Message]:
        fields = {
            **request.model_dump(),
            "language_name": language_name(request.language) if request.language else "",
        }
        return prompt.messages(fields, template=template, examples=request.length)

    def _reduced(
        self, request: SummarizationRequest, run: Run
    ) -> Generator[Step | str, list[Completion], tuple[str, str] | None]:
        """The text, or the summaries of its parts reduced until they fit into one call.

        Returns:
            The last text and the template to summarize it with; no template where it is the result already; None where
            the request was stopped.
        """
        text, count = request.text, run.engine.count_tokens
        budget = self._budget(request, run)
        if len(text) <= 64 * budget and count(text) <= budget:
            return text, "user"
        parts = [_Part(chunk.of(text), (chunk.start, chunk.end)) for chunk in self._chunks(request, run, budget)]
        if len(parts) == 1:
            return text, "user"
        tree = [[part.span for part in parts]]
        template, joined = "part", ""
        while len(parts) > 1:
            summaries = yield from self._level(parts, template, request, run, budget)
            if summaries is None:
                self._note_tree(tree, text, run)
                return None
            before, joined = len(joined) or len(text), "\n".join(part.text for part in summaries if part.text)
            template = "combine"
            if count(joined) <= budget:
                template = "combine" if joined else ""
                parts = [_Part(joined, (0, len(text)))]
            elif len(joined) > LEAST_SHRINKAGE * before:
                run.note("reduce_joined", parts=len(summaries), levels=len(tree))
                template, parts = "", [_Part(joined, (0, len(text)))]
            else:
                parts = self._grouped(summaries, run, budget)
            tree.append([part.span for part in parts])
        self._note_tree(tree, text, run)
        return parts[0].text, template

    def _budget(self, request: SummarizationRequest, run: Run) -> int:
        """Tokens of a part: what the context leaves beside the prompt and the reply."""
        empty = request.model_copy(update={"text": ""})
        templates = ("user", "part", "combine")
        rooms = [run.room(self._messages(empty, run.prompt, template), empty) for template in templates]
        room = min(rooms, key=lambda room: room.prompt)
        reply = min(run.options.max_new_tokens or CHUNK_TOKENS, max(room.reply, 0) // 3) if room.shared else 0
        budget = min(CHUNK_TOKENS, room.prompt - reply)
        if budget < 16 * PART_SHARE:
            raise run.too_long(room, 16 * PART_SHARE)
        return budget

    def _chunks(self, request: SummarizationRequest, run: Run, budget: int) -> list[Piece]:
        """Parts of the source under the budget, by sentences; blank space goes with the sentence before it."""
        text = request.text
        found = detect(text)
        parts: list[Piece] = []
        for block in blocks(text):
            if block.kind == "text":
                parts += sentences(text, block, found[0] if found else "en")
            elif parts:
                parts[-1] = Piece(parts[-1].start, block.end)
            else:
                parts.append(Piece(block.start, block.end))
        chunks = group(text, parts, run.engine.count_tokens, budget)
        if cut := [(chunk.start, chunk.end) for chunk in chunks if chunk.code == "sentence_split"]:
            run.note("sentence_split", span=(cut[0][0], cut[-1][1]), parts=len(cut), tokens=budget, spans=cut)
        return chunks

    def _level(
        self, parts: list[_Part], template: str, request: SummarizationRequest, run: Run, budget: int
    ) -> Generator[Step, list[Completion], list[_Part] | None]:
        """A summary for each part, all in one batch; None where the request was stopped."""
        limit = min(run.options.max_new_tokens or budget, max(16, budget // PART_SHARE))
        calls = []
        for part in parts:
            of_part = request.model_copy(update={"text": part.text})
            calls.append(run.call(self._messages(of_part, run.prompt, template), of_part, max_new_tokens=limit))
        try:
            completions = yield Step(calls)
        except Stopped:
            return None
        summaries = []
        for part, completion in zip(parts, completions, strict=True):
            summary = self.parse(completion.text, request)
            if not summary:
                run.note("summary_part_empty", span=part.span, start=part.span[0], end=part.span[1])
            summaries.append(_Part(summary, part.span))
        return summaries

    def _grouped(self, summaries: list[_Part], run: Run, budget: int) -> list[_Part]:
        """Neighbouring summaries joined as far as the budget goes."""
        groups: list[_Part] = []
        for part in summaries:
            joined = f"{groups[-1].text}\n{part.text}".strip() if groups else ""
            if groups and run.engine.count_tokens(joined) <= budget:
                groups[-1] = _Part(joined, (groups[-1].span[0], part.span[1]))
            else:
                groups.append(part)
        return groups

    def _live(
        self, text: str, template: str, request: SummarizationRequest, run: Run
    ) -> Generator[Step, list[Completion], str | None]:
        """The last call, shown as it grows; None where the request was stopped."""
        of_text = request.model_copy(update={"text": text})
        call = run.call(self._messages(of_text, run.prompt, template), of_text)
        try:
            (completion,) = yield Step([call], partial(self._shown, of_text))
        except Stopped:
            return None
        return self.parse(completion.text, of_text)

    def _shown(self, request: SummarizationRequest, reply: str, complete: bool) -> str:
        return self.parse(reply, request, complete=complete)

    def _note_tree(self, tree: list[list[tuple[int, int]]], text: str, run: Run) -> None:
        run.note("map_reduce", parts=len(tree[0]), levels=len(tree), characters=len(text), tree=tree)

    def _note_stop(self, text: str, run: Run) -> None:
        run.note("not_summarized", span=(0, len(text)), start=0, end=len(text))

    def _check(self, summary: str, request: SummarizationRequest, run: Run) -> None:
        """Note what a reader should doubt."""
        if not summary:
            run.note("summary_empty")
            return
        if len(summary) >= len(request.text.strip()):
            run.note("summary_longer_than_source", characters=len(summary), source_characters=len(request.text.strip()))
        source = detect(request.text)
        found = detect(summary) if len(summary) >= SHORTEST_JUDGED else None
        expected = request.language or (source[0] if source else None)
        if found and expected and not close_languages(found[0], expected):
            run.note("wrong_language", expected=expected, found=found[0], parts=1)
        facts = unsupported(summary, request.text, found[0] if found else "")
        # Names are written differently in another language: only numbers can be compared across.
        crossed = bool(found and source and not close_languages(found[0], source[0]))
        names = [] if crossed or (request.language and not found) else facts.names
        if facts.numbers or names:
            run.note("summary_unsupported", numbers=facts.numbers, names=names, found=[*facts.numbers, *names])
