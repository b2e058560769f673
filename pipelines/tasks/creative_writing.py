"""Creative writing: a text of a given form, checked for its form; several variants, the most different first."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from pipelines.engines.base import Completion, Message
from pipelines.errors import InputError
from pipelines.generation import GenerationOptions
from pipelines.prompts import Prompt
from pipelines.requests import TaskRequest, Text, validate
from pipelines.tasks.base import Run, Step, Steps, Stopped, Task
from pipelines.text.diversity import distinct_n, farthest_first, mean_similarity
from pipelines.text.languages import language_name, parse_language
from pipelines.text.preamble import strip_preamble
from pipelines.text.verse import Form, FormFact, Length, check_form

__all__ = ["CreativeRequest", "CreativeWriting"]

MOST_TOKENS: dict[Length | None, int] = {"short": 256, None: 768, "medium": 768, "long": 1536}
"""Tokens by length: about 190, 570 and 1,150 English words. Small models seldom end by themselves."""

HAIKU_TOKENS = 96
"""Seventeen syllables take 30 tokens at most in English; the rest is room for a preamble."""


class CreativeRequest(TaskRequest):
    """What to write.

    Attributes:
        brief: What it should be about; for ``continue`` and ``rewrite`` it may be left out.
        form: Form of the text.
        tone: Tone in a word or two: warm, ironic, solemn…
        length: Roughly how long.
        language: Language of the text, as a tag or a name.
        variants: How many different texts.
        mode: Write anew, continue ``text``, or rewrite it.
        text: What to continue or rewrite.
    """

    brief: Text | None = None
    form: Form = "free"
    tone: Text | None = None
    length: Length | None = None
    language: Annotated[str, AfterValidator(parse_language)] = "en"
    variants: Annotated[int, Field(ge=1, le=8)] = 1
    mode: Literal["write", "continue", "rewrite"] = "write"
    text: Text | None = None

    @model_validator(mode="after")
    def _checked(self) -> "CreativeRequest":
        if self.mode == "write" and self.brief is None:
            raise InputError("field_missing", task="creative_writing", field="brief")
        if self.mode == "write" and self.text is not None:
            raise InputError("creative_text_unused")
        if self.mode != "write" and self.text is None:
            raise InputError("creative_text_missing", mode=self.mode)
        return self


class CreativeWriting(Task[CreativeRequest]):
    """Write creatively."""

    name = "creative_writing"
    request_type = CreativeRequest
    # Sampling, as greedy decoding falls into loops on long open texts (Holtzman et al., arXiv:1904.09751).
    defaults = GenerationOptions(max_new_tokens=1536, temperature=0.7, top_p=0.95, repetition_penalty=1.1)
    metrics = ("form", "prompt_coverage", "distinct_2", "self_bleu", "repetition", "loop", "empty")
    text_fields = ("brief", "tone", "text")

    def fields_from_text(self, text: str) -> dict[str, Any]:
        """The text is the brief."""
        return {"brief": text}

    def messages(self, request: CreativeRequest, prompt: Prompt) -> list[Message]:
        """The examples of the form, then the request."""
        fields = {**request.model_dump(), "language_name": language_name(request.language)}
        return prompt.messages(fields, examples=request.form if request.mode == "write" else "")

    def parse(self, reply: str, request: CreativeRequest, *, complete: bool = True) -> str:
        """The text without a preamble."""
        return strip_preamble(reply, complete, source=request.text or "")

    def steps(self, request: CreativeRequest, run: Run) -> Steps:
        """One text is shown as it grows; several are made together, ranked, and the first one settled."""
        most = HAIKU_TOKENS if request.form == "haiku" else MOST_TOKENS[request.length]
        call = run.call(
            self.messages(request, run.prompt),
            request,
            max_new_tokens=min(most, run.options.max_new_tokens or most),
        )
        greedy = not run.options.temperature
        if request.variants > 1 and greedy:
            run.note("variants_greedy", count=request.variants)
        if request.variants == 1 or greedy:
            (completion,) = yield Step(
                [call], show=lambda reply, complete: self.parse(reply, request, complete=complete)
            )
            self._note_form(self._facts(self.parse(completion.text, request), request), run)
            return
        seed = run.options.seed or 0
        seeds = [(seed + number) % 2**63 for number in range(request.variants)]
        calls = [replace(call, options=call.options.model_copy(update={"seed": seed})) for seed in seeds]
        try:
            completions = yield Step(calls)
        except Stopped as stop:
            ended = [done for done in stop.completions if done.finish_reason in ("stop", "length")]
            run.note("variants_unfinished", finished=len(ended), count=request.variants)
            # Whole texts where there are some, else the longest beginning.
            completions = ended or sorted(stop.completions, key=lambda done: -len(done.text))[:1]
        yield self._ranked(completions, request, run)

    def from_row(self, row: Mapping[str, Any]) -> tuple[CreativeRequest, str]:
        """Columns ``prompt`` and ``response``, or ``brief`` and ``text``; form, tone, length, language if there."""
        pair = next((pair for pair in (("prompt", "response"), ("brief", "text")) if set(pair) <= row.keys()), None)
        if pair is None:
            expected = ["prompt and response", "or brief and text"]
            raise InputError("row_columns", task=self.name, expected=expected, found=list(row))
        named = {"tone": row.get("tone"), "length": row.get("length"), "language": row.get("language", row.get("lang"))}
        if row.get("form") in get_args(Form):
            named["form"] = row["form"]  # other corpora mean other things by the word: 五言绝句, "sonnet"
        fields = {name: value for name, value in named.items() if value}
        request = validate(CreativeRequest, {**fields, "brief": row[pair[0]]}, self.name)
        reply = row[pair[1]]
        if not isinstance(reply, str) or not reply.strip():
            raise InputError("text_empty", field=pair[1])
        return request, reply

    def _ranked(self, completions: list[Completion], request: CreativeRequest, run: Run) -> str:
        """Put the variants into ``run``, the best first, and say how different they are; returns the first."""
        texts = [text for done in completions if (text := self.parse(done.text, request))]
        if len(texts) < len(completions):
            run.note("variants_empty", count=len(completions) - len(texts))
        if not texts:
            return ""
        facts = [self._facts(text, request) for text in texts]
        failures = [sum(not fact.ok for fact in of_text) for of_text in facts]
        order = farthest_first(texts, failures, request.language)
        run.variants = [texts[index] for index in order]
        if len(texts) > 1:
            run.note(
                "variants_ranked",
                count=len(texts),
                order=[index + 1 for index in order],
                failures=[failures[index] for index in order],
                distinct=round(distinct_n(texts, 2, request.language), 3),
                similarity=round(mean_similarity(texts, request.language), 3),
            )
        self._note_form(facts[order[0]], run)
        return run.variants[0]

    def _facts(self, text: str, request: CreativeRequest) -> list[FormFact]:
        # A continuation has the form only together with what it continues.
        whole = f"{request.text}\n{text}" if request.mode == "continue" else text
        return check_form(whole, request.form, request.language, request.length)

    def _note_form(self, facts: list[FormFact], run: Run) -> None:
        for fact in facts:
            if not fact.ok:
                run.note("form_check", check=fact.check, expected=fact.expected, found=fact.found)
        if facts and all(fact.ok for fact in facts):
            run.note("form_ok", checks=[fact.check for fact in facts])
