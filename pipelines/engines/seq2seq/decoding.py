"""Decoding with transformers' ``generate``: watched token by token, each row with its own limits and its own chance.

Beam search looks for the best of many hypotheses, so its text is known at the end; greedy and sampled replies are
handed out as they grow. A row draws from a random stream of its own: with the same seed it gets the same tokens alone
and in a batch, as far as padded rows give the same numbers (in float32 up to the last bits, so a draw on an edge may
fall on the other side).
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from pipelines.engines.assembly import TextAssembler
from pipelines.engines.base import Call, Completion
from pipelines.engines.sampling import Sampler
from pipelines.generation import FinishReason
from pipelines.models.families import Advice, Reading

__all__ = ["Plan", "Row", "decode"]


@dataclass(frozen=True)
class Plan:
    """How rows are decoded together; rows with equal plans may share a batch.

    Attributes:
        adapter: Key of the adapter that answers; None for the base model.
        start: Tokens that their replies start with.
        advice: The checkpoint's decoding, with what the call asks for on top.
        temperature: 0 takes the most likely tokens.
        top_p: Probability of the nucleus.
        min_new_tokens: Tokens before a reply may end.
    """

    adapter: str | None
    start: tuple[int, ...]
    advice: Advice
    temperature: float
    top_p: float
    min_new_tokens: int

    @property
    def live(self) -> bool:
        """Whether the text is known as it grows."""
        return self.advice.num_beams == 1


@dataclass
class Row:
    """One reply on its way.

    Attributes:
        call: What it answers.
        reading: What the encoder reads, and what the model cannot follow.
        ids: Tokens of the encoder.
        plan: How it is decoded.
        limit: Most tokens that it may get.
        ending: Tokens that end it.
        text: Collects its text.
        started: When the engine's work on it began.
        completion: The outcome, once it has ended.
    """

    call: Call
    reading: Reading
    ids: list[int]
    plan: Plan
    limit: int
    ending: frozenset[int]
    text: TextAssembler
    started: float = field(default_factory=time.perf_counter)
    completion: Completion | None = None
    _count: int = 0
    _first: float | None = None
    _stopped: FinishReason | None = None

    def push(self, token: int) -> str:
        """Take the next token; returns new text, and ends the row at its end, a stop string or the limit."""
        self._count += 1
        self._first = self._first if self._first is not None else time.perf_counter() - self.started
        if token in self.ending:
            return self.end("stop")
        text = self.text.push(token)
        if self.text.stopped:
            return text + self.end("stop")
        return text + self.end("length") if self._count >= self.limit else text

    def interrupted(self, stops: Sequence[threading.Event]) -> FinishReason | None:
        """Why it has to end before its end."""
        deadline = self.call.options.deadline_s
        if any(stop.is_set() for stop in stops):
            self._stopped = "cancelled"
        elif deadline is not None and time.perf_counter() - self.started >= deadline:
            self._stopped = self._stopped or "deadline"
        return self._stopped

    def end(self, reason: FinishReason) -> str:
        """No more tokens: returns what was held back of the text."""
        rest = self.text.finish()
        total = time.perf_counter() - self.started
        self.completion = Completion(
            self.text.text, len(self.ids), self._count, reason, self._first, total, self.reading.notes
        )
        return rest

    def finish(self, tokens: Sequence[int]) -> str:
        """Take a whole reply at once, as beam search gives it."""
        text = ""
        for token in tokens:
            text += self.push(token)
            if self.completion:
                return text
        return text + self.end(self._stopped or "length")


class _Watch(StoppingCriteria):
    """Sees every step of ``generate``: hands out new tokens, ends rows and the whole batch."""

    def __init__(
        self, rows: list[Row], stops: Sequence[threading.Event], on_text: Callable[[Row, str], None], begin: int
    ) -> None:
        self._rows = rows
        self._stops = stops
        self._on_text = on_text
        self._begin = begin

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **keywords: Any) -> Any:
        """Rows (or hypotheses, several to a row) that have ended, shape (rows,), boolean."""
        width = input_ids.shape[0] // len(self._rows)
        newest = input_ids[:, -1].tolist()
        ended = []
        for index, row in enumerate(self._rows):
            if not row.plan.live:
                ended.append(bool(row.interrupted(self._stops)) or input_ids.shape[1] - self._begin >= row.limit)
                continue
            if row.completion is None:
                text = row.push(newest[index])
                if row.completion is None and (reason := row.interrupted(self._stops)):
                    text += row.end(reason)
                if text:
                    self._on_text(row, text)
            # By its completion alone: a cancel that comes just now is for the next token to see.
            ended.append(row.completion is not None)
        return torch.tensor(ended, device=input_ids.device).repeat_interleave(width)


class _Draw(LogitsProcessor):
    """Leaves only the token that a row's own random stream has drawn; comes after all other processors."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> Any:
        """Scores of shape (rows, vocabulary) with one finite entry in each row."""
        drawn = self._sampler(scores)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn[:, None], 0.0)


def decode(
    model: Any,
    rows: list[Row],
    base: dict[str, Any],
    pad: int,
    stops: Sequence[threading.Event],
    on_text: Callable[[Row, str], None],
) -> None:
    """Run rows of one plan together until each has its completion.

    Args:
        model: The model.
        rows: The rows.
        base: What of the checkpoint's generation config holds for every call (tokens that never come, for one).
        pad: Token that fills shorter inputs.
        stops: Any of these events ends the work within one token.
        on_text: Called with new text as it grows, in this thread.
    """
    for row in rows:  # cancelled, or past their deadline, before they began
        if reason := row.interrupted(stops):
            row.end(reason)
    rows = [row for row in rows if row.completion is None]
    if not rows:
        return
    plan = rows[0].plan
    device = model.device
    width = max(len(row.ids) for row in rows)
    if windows := getattr(model.config, "attention_window", None):
        # LED reads whole windows; left to itself it pads, too, and says so each time.
        window = max(windows) if isinstance(windows, list) else windows
        width += -width % window
    ids = torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows], device=device)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if windows:
        # LED was trained with the first token attending everywhere (arXiv:2004.05150); without it the encoder sees
        # windows only.
        inputs["global_attention_mask"] = torch.zeros_like(mask).index_fill(1, torch.tensor([0], device=device), 1)
    begin = len(plan.start)
    processors = []
    if plan.temperature:
        options = [row.call.options for row in rows]
        exempt = sorted(rows[0].ending)
        processors.append(_Draw(Sampler.for_calls(options, exempt, device)))
    with torch.inference_mode():
        found = model.generate(
            **inputs,
            decoder_input_ids=torch.tensor([plan.start] * len(rows), device=device),
            generation_config=_config(plan, base, max(row.limit for row in rows)),
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList([_Watch(rows, stops, on_text, begin)]),
        )
    for row, tokens in zip(rows, found[:, begin:].tolist(), strict=True):
        if row.completion is None:
            while tokens and tokens[-1] == pad and pad not in row.ending:
                tokens.pop()
            text = row.finish(tokens)
            if text:
                on_text(row, text)


def _config(plan: Plan, base: dict[str, Any], limit: int) -> GenerationConfig:
    """Everything that ``generate`` is told."""
    advice = plan.advice
    return GenerationConfig(
        **base,
        decoder_start_token_id=plan.start[0],
        max_new_tokens=limit,
        min_new_tokens=min(plan.min_new_tokens, limit - 1) or None,
        num_beams=advice.num_beams,
        length_penalty=advice.length_penalty if advice.num_beams > 1 else None,
        early_stopping=advice.early_stopping if advice.num_beams > 1 else None,
        no_repeat_ngram_size=advice.no_repeat_ngram_size or None,
        encoder_no_repeat_ngram_size=advice.encoder_no_repeat_ngram_size or None,
        # A sampled row is penalised by its sampler.
        repetition_penalty=advice.repetition_penalty if not plan.temperature else None,
        do_sample=False,
    )
