"""Rows as encoder–decoder models read them: what the encoder reads, and what the decoder has to write."""

from typing import Any

from finetune.data.rendering import Rendered, Renderer
from finetune.data.row import Row
from pipelines.engines.base import Call
from pipelines.engines.seq2seq.loading import ending_tokens
from pipelines.engines.seq2seq.reading import Reader
from pipelines.errors import InputError
from pipelines.models.families import INSTRUCTION_TEMPLATE, find_family, limits_of
from pipelines.prompts import Prompt

__all__ = ["Seq2SeqRenderer"]


class Seq2SeqRenderer(Renderer):
    """Renders for encoder–decoder models: languages, prefixes and the first tokens of a reply are those of serving.

    Args:
        model: Reference of the model.
        task: Name of the task.
        prompt: Wording of the requests, for a model that takes instructions.
        tokenizer: The model's.
        config: Its configuration.
        generation_config: Its generation config.

    Attributes:
        reader: What turns requests into the encoder's tokens, in serving as well.
        template: How instructions are written; empty for a model that takes none.
        end: The token that ends a reply.

    Raises:
        InputError: ``model_task``, ``seq2seq_unknown`` or ``rendering_no_end``.
    """

    def __init__(
        self, model: str, task: str, prompt: Prompt, tokenizer: Any, config: Any, generation_config: Any
    ) -> None:
        limits = limits_of(config, tokenizer)
        self.context = max(limits.encoder, limits.decoder)
        tokenizer.model_max_length = 10**30  # no row is ever cut, so a warning of long ones would be wrong
        family = find_family(config, generation_config, tokenizer, model)
        family.check_task(task)
        ending = ending_tokens(generation_config, tokenizer)
        params = getattr(config, "task_specific_params", None)
        self.reader = Reader(tokenizer, family, limits, generation_config, params, ending, None)
        self.template = (tokenizer.chat_template or INSTRUCTION_TEMPLATE) if family.instructed else ""
        tags = [family.tag.format(code).strip() for code in family.targets.tags] if family.manner == "tag" else []
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        super().__init__(model, task, prompt, tokenizer, [*special, *tags])
        if tokenizer.eos_token_id is None and not ending:
            raise InputError("rendering_no_end", model=model)
        self.end: int = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else min(ending)
        self._first = [] if family.tokens else self._first_tokens()

    def render(self, row: Row) -> Rendered:
        """What encoder and decoder read of a row; the reply carries loss, the tokens that start it do not."""
        request = self._request(row)
        messages = self._definition.messages(request, self.prompt) if self.reader.family.instructed else []
        reading, encoder = self.reader.read(Call(messages, task=self.task, request=request), self.template)
        start = list(reading.start)
        reply = [token for token in self._first if token not in start] + self._written(row.reply)
        if self.tokenizer.unk_token_id in reply:
            raise InputError("reply_unwritable", model=self.model)
        labels = [False] * len(start) + [True] * (len(reply) + 1)
        lines = "\n" in row.reply.strip() and not self.reader._keeps_lines
        return Rendered([*start, *reply, self.end], labels, encoder, ("line_breaks_lost",) if lines else ())

    def over(self, rendered: Rendered, max_tokens: int | None = None) -> tuple[int, int] | None:
        """(tokens, limit) of the first side that is too long; None where both fit."""
        assert rendered.encoder is not None
        limits = self.reader.limits
        # The decoder never reads the token that ends a reply.
        sides = ((len(rendered.encoder), limits.encoder), (len(rendered.tokens) - 1, limits.decoder))
        for tokens, own in sides:
            limit = min(own, max_tokens or own) if limits.hard else max_tokens or own
            if tokens > limit:
                return tokens, limit
        return None

    def _written(self, text: str) -> list[int]:
        """Tokens of a text as the decoder writes it: some tokenizers have a vocabulary of their own for that."""
        ids: list[int] = self.tokenizer(text_target=text, add_special_tokens=False)["input_ids"]
        return ids

    def _first_tokens(self) -> list[int]:
        """What the model learned to write before every text: BART's ``<s>``, where serving does not force it."""
        whole: list[int] = self.tokenizer(text_target="a")["input_ids"]
        text = self._written("a")
        for place in range(len(whole)):
            if whole[place : place + len(text)] == text:
                return whole[:place]
        return []
