"""Rows as the model reads them: the tokens that serving sends, the tokens of the reply, and which of them carry loss.

The prompt of a row is what the engine sends for its request, token by token; behind it stands the reply as the model
has to write it, up to and with the token that ends it. What a template writes after that token (the line break behind
``<|im_end|>``) is the beginning of the next turn and carries no loss.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from finetune.data.pieces import Pieces
from finetune.data.row import Row
from pipelines.engines.chat import ChatFormat
from pipelines.errors import InputError
from pipelines.models.source import ModelSource
from pipelines.prompts import FewShot, Message, Prompt, load_prompt
from pipelines.requests import TaskRequest, validate
from pipelines.tasks import TASKS

__all__ = ["ChatRenderer", "Rendered", "Renderer", "training_prompt"]

_PROBE = "cinquain"
_BEGINNING, _ENDING = 4, 6
"""Turns at both ends of a conversation that are looked at one by one."""


@dataclass(frozen=True)
class Rendered:
    """One row as a model reads it.

    Attributes:
        tokens: Of a causal model prompt and reply; of an encoder–decoder model what the decoder holds: the tokens that
            serving starts it with, then the reply. Nothing stands behind the token that ends the reply.
        labels: Which of ``tokens`` carry loss, one for each: those that the model must write.
        encoder: What the encoder reads; None for a causal model.
        remarks: What a person should know of it, as words that the ledger counts.
    """

    tokens: list[int]
    labels: list[bool]
    encoder: list[int] | None = None
    remarks: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Tokens on both sides."""
        return len(self.tokens) + len(self.encoder or ())


class Renderer(ABC):
    """Renders the rows of one task for one model; use ``Renderer.load``.

    Attributes:
        model: Reference of the model.
        task: Name of the task.
        prompt: Wording of the requests, as an adapter has to store it.
        tokenizer: The model's.
        context: Most tokens of a row, or of the longer side of one.
    """

    context: int

    def __init__(self, model: str, task: str, prompt: Prompt, tokenizer: Any, forgeable: Iterable[str]) -> None:
        self.model = model
        self.task = task
        self.prompt = prompt
        self.tokenizer = tokenizer
        self._definition = TASKS[task]()
        markers = sorted({marker for marker in forgeable if marker}, key=len, reverse=True)
        self._markers = re.compile("|".join(map(re.escape, markers))) if markers else None

    @staticmethod
    def load(model: str, task: str, prompt: Prompt | None = None) -> "Renderer":
        """The renderer for a model: its tokenizer and its configuration are read, its weights are not.

        Args:
            model: Model reference: a catalog alias, a folder, a GGUF file or a Hub id.
            task: Name of the task.
            prompt: Wording of the requests; that of ``training_prompt`` where None.

        Raises:
            InputError: There is no such model, it has no tokenizer of its own (``scripted``, a remote one), or it
                cannot do the task.
        """
        from pipelines.engines.seq2seq.loading import is_encoder_decoder
        from pipelines.models import resolve

        if model == "scripted" or "://" in model:
            raise InputError("rendering_no_tokenizer", model=model)
        source = resolve(model, task=task)
        wording = prompt or training_prompt(task)
        files = _files(source)
        if is_encoder_decoder(source):
            from finetune.data.rendering_seq2seq import Seq2SeqRenderer

            return Seq2SeqRenderer(model, task, wording, *files)
        return ChatRenderer(model, task, wording, *files)

    @abstractmethod
    def render(self, row: Row) -> Rendered:
        """The tokens of a row.

        Raises:
            InputError: The row is no request of the task, holds a marker of the template as text, or asks the model
                for what it cannot do.
        """

    @abstractmethod
    def over(self, rendered: Rendered, max_tokens: int | None = None) -> tuple[int, int] | None:
        """(tokens, limit) of the side that is too long for the model, or for ``max_tokens``; None where all fits."""

    def _request(self, row: Row) -> TaskRequest:
        """The row's request, once it is known that none of its texts forges a marker.

        Serving reads such a text as the marker itself. Written as plain text it would train another prompt than the
        one that is served, and as a marker it would train the model to take a text for the end of a turn.
        """
        if self._markers:
            for text in row.texts(self.task):
                if found := self._markers.search(text):
                    raise InputError("template_marker", marker=found[0], model=self.model)
        request: TaskRequest = validate(self._definition.request_type, row.request, self.task)
        return request


class ChatRenderer(Renderer):
    """Renders for causal models.

    Args:
        model: Reference of the model.
        task: Name of the task.
        prompt: Wording of the requests.
        tokenizer: The model's.
        config: Its configuration.
        generation_config: Its generation config.

    Attributes:
        format: How the model reads conversations.
        lead: What the model writes before its answer: an empty block of thinking, the name of a channel, a space.
        closing: What the template writes between the answer and the token that ends it.
        end: The token that ends a reply.

    Raises:
        InputError: ``rendering_no_end``, or the chat template cannot be used.
    """

    def __init__(
        self, model: str, task: str, prompt: Prompt, tokenizer: Any, config: Any, generation_config: Any
    ) -> None:
        from pipelines.engines.loading import context_length

        loaded = SimpleNamespace(config=config, generation_config=generation_config)  # a model without its weights
        self.context = context_length(loaded, tokenizer)
        tokenizer.model_max_length = 10**30  # no row is ever cut, so a warning of long ones would be wrong
        self.format = ChatFormat(loaded, tokenizer, model, context_length=self.context)
        wording = prompt.for_base_model() if self.format.plain else prompt
        super().__init__(model, task, wording, tokenizer, [*_control_tokens(self.format), *self.format.stop])
        self._pieces = Pieces(tokenizer)
        self._repeats: dict[tuple[str, int], set[int]] = {}
        self._find_reply()

    def render(self, row: Row) -> Rendered:
        """The tokens of a row: those of its prompt as the engine sends them, then those of its reply."""
        request = self._request(row)
        messages = self._definition.messages(request, self.prompt)
        prompt, reply = self.format.text(messages), self._reply(row.reply)
        # Examples of the wording are turns of the assistant, too, but none that this row teaches.
        first = len(messages) - len(getattr(request, "turns", ()))
        places = [place for place in range(first, len(messages)) if messages[place]["role"] == "assistant"]
        heads = self._heads(messages, places, prompt)
        asked, whole, *before = self._pieces.encode([prompt, prompt + reply, *heads.values()])
        if whole[: len(asked)] != asked:
            # The reply's first letters and the prompt's last ones would be one token, which serving never sends.
            whole = asked + self._pieces.encode([reply])[0]
        labels = [False] * len(asked) + [True] * (len(whole) - len(asked) + 1)
        for head in before:
            if asked[: len(head)] == head:
                ends = asked.index(self.end, len(head)) + 1
                labels[len(head) : ends] = [True] * (ends - len(head))
        remarks = ("only_last_turn",) if len(before) < len(places) else ()
        return Rendered([*whole, self.end], labels, remarks=remarks)

    def over(self, rendered: Rendered, max_tokens: int | None = None) -> tuple[int, int] | None:
        """(tokens, limit) of a row that is too long; None for one that fits."""
        limit = max_tokens or self.context
        return (len(rendered.tokens), limit) if len(rendered.tokens) > limit else None

    def _reply(self, text: str) -> str:
        return f"{self.lead}{text.strip() if self._trims else text}{self.closing}"

    def _heads(self, messages: list[Message], places: list[int], prompt: str) -> dict[int, str]:
        """What serving sent for each earlier turn of the assistant, where the template repeats it in ``prompt``.

        Some templates write earlier turns otherwise than the last one, without its thinking for one: such a turn is no
        reply that the model will ever have to write, and is left out.

        To write a conversation once for each of its turns takes longer than all the rest. Whether a template repeats
        itself depends on the roles, so that is found out once for each number of turns; the texts are looked for in
        every row.
        """
        shape = (messages[0]["role"], len(messages))
        heads: dict[int, str] = {}
        cursor = 0
        for place in places:
            written = self._head + self._reply(messages[place]["content"]) + self._end_text
            at = prompt.find(written, cursor)
            if at < 0:
                continue
            heads[place] = prompt[: at + len(self._head)]
            cursor = at + len(written)
        if shape not in self._repeats:
            self._repeats[shape] = self._repeated(messages, heads)
        return {place: head for place, head in heads.items() if place in self._repeats[shape]}

    def _repeated(self, messages: list[Message], heads: dict[int, str]) -> set[int]:
        """Places of the turns before which the template writes what serving sent there.

        Templates treat a turn by how far it is from the first or the last one. So the turns in the middle of a long
        conversation go with those on both sides of them, where these agree; to try each takes a minute for 250 turns.
        """
        found = {}

        def agree(places: list[int]) -> None:
            for place in places:
                found[place] = self.format.text(messages[:place]) == heads[place]

        places = list(heads)
        middle = places[_BEGINNING:-_ENDING]
        agree(places[:_BEGINNING] + places[_BEGINNING:][-_ENDING:])
        if middle:
            before, behind = found[places[_BEGINNING - 1]], found[places[-_ENDING]]
            if before == behind:
                found |= dict.fromkeys(middle, before)
            else:
                agree(middle)
        return {place for place, same in found.items() if same}

    def _find_reply(self) -> None:
        """Find out from the template what stands around a reply."""
        hello: Message = {"role": "user", "content": "Hello."}
        prompt = self.format.text([hello])
        self._head = prompt.removeprefix(self._told([hello]))
        whole = self._told([hello, {"role": "assistant", "content": _PROBE}])
        before, _, after = whole.removeprefix(prompt).rpartition(_PROBE)
        self.lead = before if whole.startswith(prompt) else ""
        opened = self.format.markers.opened
        if opened and opened.closing not in self.lead:
            # The prompt has begun to think: an answer without this would be read as a part of the thinking.
            self.lead = f"\n{opened.closing}\n\n"
        tail = [] if self.format.plain else self._pieces.encode([after])[0]
        configured = self.tokenizer.eos_token_id
        end = next((token for token in tail if token in self.format.ending), configured)
        end = end if end is not None else next(iter(self.format.ending), None)
        if end is None:
            raise InputError("rendering_no_end", model=self.model)
        self.end: int = end
        self._end_text = str(self.tokenizer.convert_ids_to_tokens(end))
        self.closing = after.partition(self._end_text)[0] if end in tail else ""
        spaced = self._told([hello, {"role": "assistant", "content": f" {_PROBE} "}])
        self._trims = f" {_PROBE} " not in spaced

    def _told(self, messages: list[Message]) -> str:
        try:
            return self.format.text(messages, reply=False)
        except InputError:  # it writes prompts only
            return ""


@lru_cache
def training_prompt(task: str) -> Prompt:
    """The wording of a task for training: what ships, without its worked examples.

    The examples show a model what it has not learned; an adapter learns from rows, and each row would pay for them
    again: 114 tokens in a translation into French.
    """
    shipped = load_prompt(task)
    few_shot = FewShot(templates=shipped.few_shot.templates)
    return shipped.model_copy(update={"examples": {}, "few_shot": few_shot})


def _files(source: ModelSource) -> tuple[Any, Any, Any]:
    """Tokenizer, configuration and generation config of a model.

    Raises:
        InputError: ``model_load_failed`` with transformers' own reason.
    """
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedConfig

    from pipelines.engines.loading import first_line
    from pipelines.models.conversion import quiet_transformers

    where = source.arguments()
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(**where)
            config = AutoConfig.from_pretrained(**where)
            if source.kind == "gguf":
                return tokenizer, config, GenerationConfig.from_model_config(config)
            try:
                name = where.pop("pretrained_model_name_or_path")
                said = GenerationConfig.from_pretrained(name, **where)
            except OSError:  # older models name its entries in their config.json, from where transformers takes them
                entries, _ = PreTrainedConfig.get_config_dict(name, **where)
                said = GenerationConfig.from_model_config(entries)
            return tokenizer, config, said
    except Exception as error:  # files of strangers fail in any way they like, as in pipelines/engines/loading.py
        raise InputError("model_load_failed", model=source.reference, reason=first_line(error)) from error


def _control_tokens(format_: ChatFormat) -> list[str]:
    """What a text must not hold: special tokens, and other added tokens that the chat template writes.

    The same set that transformers encodes as text with ``sanitize_control_tokens``; added tokens of blank space
    (Gemma's line breaks) are ordinary text.
    """
    added = format_.tokenizer.added_tokens_decoder.values()
    return [
        token.content
        for token in added
        if token.special or (token.content in format_.template and not token.content.isspace())
    ]
