"""The engine for encoder–decoder models: translation, summarization and text-to-text models of transformers.

transformers 5 has no pipelines for these tasks any more; this takes their place. What is known of each family of models
(how it names languages, which tasks it does) is in ``pipelines/models/families``.
"""

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from pipelines.engines.adapters.adapters import Adapters
from pipelines.engines.base import Call, Completion, Room, all_completed
from pipelines.engines.device import choose_device
from pipelines.engines.free_memory import memory_errors
from pipelines.engines.in_process import InProcessEngine
from pipelines.engines.seq2seq.reading import Reader, Written, groups
from pipelines.engines.waiting import turn
from pipelines.errors import CinquainError, InputError
from pipelines.models.source import ModelSource
from pipelines.prompts import Message

if TYPE_CHECKING:
    from pipelines.engines.seq2seq.decoding import Row

__all__ = ["Seq2SeqEngine"]

DEFAULT_TOKEN_BUDGET = 8192
"""Tokens of the encoder that one batch may hold, padding and beams included. With NLLB-600M in float32 each is 98 KB of
keys and values, and a reply of the same length as much again: 1.6 GB."""

# What of a checkpoint's generation config holds whatever is asked.
_CARRIED = ("bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "renormalize_logits", "remove_invalid_values")


class Seq2SeqEngine(InProcessEngine):
    """Runs an encoder–decoder model in this process.

    Args:
        source: Where the model is.
        adapter: Folder of a LoRA adapter, or None.
        device: ``auto``, ``cpu``, ``mps``, ``cuda`` (as many GPUs as the model needs) or ``cuda:1`` (this one).
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``; see ``device.py``.
        quantization: ``8bit`` or ``4bit`` (bitsandbytes, NVIDIA GPUs only), or None for weights as they are.
        attention: ``auto``, ``sdpa``, ``eager`` or ``flash_attention_2``.
        token_budget: Tokens of the encoder that one batch may hold, padding and beams included.
        num_beams: Beams of the search; by default what the checkpoint advises. With 1 the text comes token by token.
        prefix: What the model reads before a text, where its files do not tell: "" for a fine-tuned T5 that reads the
            text alone, "summarize: " for one that learned these words. The model then does translation and
            summarization, and takes no instructions.
        input_limit: Most tokens of input and reply of a model whose positions are relative (T5), instead of the length
            that it was trained with.

    Attributes:
        family: What the model is.
        limits: Lengths of encoder and decoder.

    Raises:
        InputError: The model or the adapter cannot be loaded, does not fit this machine, or is of an unknown kind.
    """

    kind = "seq2seq"
    encoder_decoder = True

    def __init__(
        self,
        source: ModelSource,
        adapter: str | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        quantization: str | None = None,
        attention: str = "auto",
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        num_beams: int | None = None,
        prefix: str | None = None,
        input_limit: int | None = None,
    ) -> None:
        from transformers import GenerationConfig

        from pipelines.engines.seq2seq.loading import ending_tokens
        from pipelines.models.families import INSTRUCTION_TEMPLATE, find_family, limits_of

        if num_beams is not None and num_beams < 1:
            raise InputError("seq2seq_beams", found=num_beams)
        choice = choose_device(device, dtype, quantization, attention)
        # The one-row copies of device.py are for replies that grow by one row; here most are searched with beams.
        super().__init__(source, adapter, replace(choice, one_row=False))
        said = self.model.generation_config
        self.limits = limits_of(self.model.config, self.tokenizer)
        if input_limit and not self.limits.hard:
            self.limits = replace(self.limits, encoder=input_limit, decoder=input_limit)
        self.context_length = self.limits.encoder
        self.tokenizer.model_max_length = 10**30  # the engine keeps to the length; long texts are only counted
        self.family = find_family(self.model.config, said, self.tokenizer, source.reference, prefix)
        self.follows_instructions = self.family.instructed and not self.family.pairs
        template = self.tokenizer.chat_template or INSTRUCTION_TEMPLATE
        self.chat_template = template if self.family.instructed else ""
        ending = ending_tokens(said, self.tokenizer)
        params = getattr(self.model.config, "task_specific_params", None)
        self._reader = Reader(self.tokenizer, self.family, self.limits, said, params, ending, num_beams)
        pad = self.tokenizer.pad_token_id
        self._pad: int = pad if pad is not None else min(ending, default=0)
        self._base = {name: value for name in _CARRIED if (value := getattr(said, name, None)) is not None}
        self._base |= {"eos_token_id": sorted(ending), "pad_token_id": self._pad}
        # generate() fills what a call leaves open from here: a maximum length among it, which would cut replies.
        self.model.generation_config = GenerationConfig()
        self._num_beams = num_beams
        self._token_budget = min(token_budget, self.placement.batch_tokens or token_budget)
        written: Any = lambda stored: Written(self.chat_template if stored is None else stored)  # noqa: E731
        self.adapters = Adapters(self.model, source, self._lock, written, lambda _key: None)
        if adapter:
            self.adapters.default = self.adapters.load(adapter)

    def count_tokens(self, text: str) -> int:
        """Tokens of a bare text, as the encoder reads it."""
        return len(self._reader.encode(text, special=False))

    def count_prompt(self, messages: Sequence[Message]) -> int:
        """Tokens of a conversation written as an instruction; only models that take instructions read it."""
        from pipelines.models.families import INSTRUCTION_TEMPLATE

        text = self._reader.instruction(messages, self.chat_template or INSTRUCTION_TEMPLATE)
        return len(self._reader.encode(text, special=not self.family.own_template))

    def room(self, call: Call) -> Room:
        """What a call leaves free in the encoder and in the decoder.

        Raises:
            InputError: The model does not know a language of the request.
        """
        reading, ids = self._reader.read(call, self.chat_template)
        return Room(self.limits.encoder - len(ids), self.limits.decoder - len(reading.start), shared=False)

    def check_task(self, task: str) -> None:
        """Refuse a task that this model cannot do.

        Raises:
            InputError: ``model_task`` with the tasks that it can do.
        """
        self.family.check_task(task)

    def stream(self, call: Call, cancel: threading.Event | None = None) -> Generator[str | Completion, None, None]:
        """Generate for one call: token by token without beams, all at its end with them.

        The model runs in a thread of its own, which ends within one token of the iterator's end.
        """
        row = self._row(call)
        pieces: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        closed = threading.Event()
        stops = [closed] if cancel is None else [closed, cancel]

        def work() -> None:
            try:
                self._decode([row], stops, lambda _row, text: pieces.put(text))
                pieces.put(None)
            except BaseException as error:  # raised again where the text is read
                pieces.put(error)

        with self._turn([row], stops):
            if row.completion is None:
                with self.adapters.serving([row.plan.adapter]):
                    thread = threading.Thread(target=work, name="seq2seq", daemon=True)
                    thread.start()
                    try:
                        while (piece := pieces.get()) is not None:
                            if isinstance(piece, BaseException):
                                raise piece
                            yield piece
                    finally:
                        closed.set()
                        thread.join()
            assert row.completion is not None
            yield row.completion

    def batch(
        self,
        calls: Sequence[Call],
        cancel: threading.Event | None = None,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """Generate for many calls in batches of similar length; completions in the order of the calls.

        Raises:
            CallsFailedError: An adapter was unloaded meanwhile; the calls under the others are answered.
        """
        rows = {index: self._row(call) for index, call in enumerate(calls)}
        places = {id(row): index for index, row in rows.items()}
        outcomes = cast("list[Completion | CinquainError]", [None] * len(calls))
        stops = [] if cancel is None else [cancel]
        with self._turn(list(rows.values()), stops):
            for group in groups(list(rows.values()), self._token_budget):
                try:
                    with self.adapters.serving([row.plan.adapter for row in group]):
                        self._decode(group, stops, lambda _row, _text: None)
                except InputError as error:  # unloaded while they waited for the engine
                    for row in group:
                        outcomes[places[id(row)]] = error
                    continue
                for row in group:
                    assert row.completion is not None
                    outcomes[places[id(row)]] = row.completion
                    if on_done:
                        on_done(places[id(row)], row.completion)
        return all_completed(outcomes)

    def provenance(self) -> dict[str, Any]:
        """That of every model in this process, with its family and the beams that were asked for."""
        return {**super().provenance(), "family": self.family.name, "num_beams": self._num_beams}

    def _decode(
        self, rows: list["Row"], stops: Sequence[threading.Event], on_text: Callable[["Row", str], None]
    ) -> None:
        """Run rows of one plan until each has its completion.

        Raises:
            CinquainError: ``memory_exhausted``.
        """
        from pipelines.engines.seq2seq.decoding import decode

        longest = max(len(row.ids) for row in rows)
        with memory_errors(self.reference, self.placement.devices[0], longest, len(rows)):
            decode(self.model, rows, self._base, self._pad, stops, on_text)

    def _row(self, call: Call) -> "Row":
        call, adapter, notes = self._answering(call)
        return self._reader.row(call, adapter.format.template if adapter else self.chat_template, notes)

    def _turn(self, rows: Sequence["Row"], stops: Sequence[threading.Event]) -> AbstractContextManager[None]:
        """Wait until the engine is free, or until all rows are over: cancelled, or past their deadline."""

        def over() -> bool:
            for row in rows:
                if row.completion is None and (reason := row.interrupted(stops)):
                    row.end(reason)
            return all(row.completion for row in rows)

        return turn(self._lock, over)
