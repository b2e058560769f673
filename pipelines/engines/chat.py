"""How a model reads a conversation: its chat template, or a plain document where it has none, and what ends a reply."""

import re
from collections.abc import Sequence
from typing import Any

from pipelines.engines.loading import first_line
from pipelines.engines.markers import Markers
from pipelines.errors import InputError
from pipelines.prompts import Message

__all__ = ["PLAIN_STOP", "PLAIN_TEMPLATE", "THINKING_TOKENS", "ChatFormat"]

THINKING_TOKENS = 4096
"""Tokens that a model may think before it answers, beside those of the answer; half of the context where that is
less, and as many as the answer may have where that is more. Ten pages: proofs need more, but on a CPU that writes ten
tokens a second they already take seven minutes."""

PLAIN_TEMPLATE = """\
{% for message in messages %}
{% if message['role'] == 'system' %}
{{ message['content'].rstrip() }}
{% elif message['role'] == 'user' %}
### User
{{ message['content'].rstrip() }}
{% else %}
### Assistant
{{ message['content'].rstrip() }}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
### Assistant
{% endif %}
"""
"""A conversation as a document, for base models. A single line break parts the sections: with two of them many
tokenizers would write the end of a section in other tokens where the next one follows, and the states of a shared
beginning could not be used again. Blank space before it would do the same."""

PLAIN_STOP = ("\n### User", "\n### Assistant", "### User", "### Assistant")
"""Where the reply of a base model ends: it goes on with the next section."""

_SWITCHES = ("enable_thinking", "thinking", "reasoning")
"""Variables by which chat templates turn thinking on and off: Qwen3, GLM, Gemma 4, SmolLM3; DeepSeek-V3.1, Granite,
Hermes 4; Cohere."""

_HELLO: Message = {"role": "user", "content": "Hello."}


class ChatFormat:
    """Turns messages into a model's tokens, and knows what the tokens of its reply mean.

    Args:
        model: The model, for its generation config.
        tokenizer: Its tokenizer.
        reference: Model reference, for messages of errors.
        template: Chat template to use instead of the tokenizer's own: the one that an adapter was trained with.
        thinking: Whether the model may think before it answers, where its template has a switch for that.
        context_length: Tokens that prompt and reply share.

    Attributes:
        tokenizer: The tokenizer.
        template: Source of the chat template.
        plain: Whether that is ours, for a base model: it is to be asked with ``Prompt.for_base_model``.
        stop: Strings that end a reply beside those of the call.
        ending: Tokens that end a reply.
        markers: What parts this model's thinking from its answers.
        thinking_limit: Most tokens that a reply may think.
        thinking_tokens: As many as have to be kept free for that; 0 where no thinking is to be expected.

    Raises:
        InputError: ``model_chat_template`` where the template cannot even write one message.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        reference: str,
        *,
        template: str | None = None,
        thinking: bool = False,
        context_length: int = 10**9,
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template or _own_template(tokenizer)
        self.plain = self.template.endswith(PLAIN_TEMPLATE)
        self.stop = PLAIN_STOP if self.plain else ()
        added = tokenizer.added_tokens_decoder
        special = {token for token, entry in added.items() if entry.special}
        self.ending = _ending_tokens(model, tokenizer, special if self.plain else set())
        self._reference = reference
        self._variables = _thinking_variables(self.template, thinking)
        self._takes_system = self._writes_system()
        vocabulary = {entry.content: token for token, entry in added.items()}
        self.markers = Markers.of(self.template, self._generation_prompt(), vocabulary, special)
        self.thinking_limit = min(THINKING_TOKENS, context_length // 2)
        switched_on = thinking and bool(self._variables)
        expected = switched_on or self.markers.harmony or self.markers.opened
        self.thinking_tokens = self.thinking_limit if expected else 0

    def tokens(self, messages: Sequence[Message], *, reply: bool = True) -> list[int]:
        """Token ids of a conversation; with ``reply`` up to where the model's answer begins.

        Raises:
            InputError: ``model_chat_template`` where the template refuses this conversation.
        """
        tokens: list[int] = self._conversation(messages, reply, tokenize=True, return_dict=False)
        return tokens

    def text(self, messages: Sequence[Message], *, reply: bool = True) -> str:
        """A conversation as the template writes it, before it is tokens.

        Raises:
            InputError: ``model_chat_template`` where the template refuses this conversation.
        """
        return str(self._conversation(messages, reply, tokenize=False))

    def _conversation(self, messages: Sequence[Message], reply: bool, **options: Any) -> Any:
        from jinja2 import TemplateError

        written = list(messages) if self._takes_system else _without_system(list(messages))
        try:
            return self._applied(written, reply, **options)
        except TemplateError as error:  # "Conversation roles must alternate", for one
            raise InputError("model_chat_template", model=self._reference, reason=str(error).rstrip(".")) from error

    def _applied(self, messages: Sequence[Message], reply: bool, **options: Any) -> Any:
        return self.tokenizer.apply_chat_template(
            list(messages), chat_template=self.template, add_generation_prompt=reply, **options, **self._variables
        )

    def _writes_system(self) -> bool:
        """Whether the template writes a system message; Gemma 2's refuses one, others leave it out in silence."""
        probe = "cinquain"
        try:
            self._applied([_HELLO], True, tokenize=False)
        except Exception as error:  # a template is a program of a stranger: it fails in any way it likes
            raise InputError("model_chat_template", model=self._reference, reason=first_line(error)) from error
        try:
            return probe in self._applied([{"role": "system", "content": probe}, _HELLO], True, tokenize=False)
        except Exception:
            return False

    def _generation_prompt(self) -> str:
        """What the template writes behind the last message, up to the reply."""
        try:
            asked, whole = (self._applied([_HELLO], reply, tokenize=False) for reply in (False, True))
        except Exception:  # a conversation that ends with the user may be refused without the prompt for a reply
            return ""
        return str(whole.removeprefix(asked))


def _own_template(tokenizer: Any) -> str:
    """The tokenizer's chat template, or ours for a document."""
    if tokenizer.chat_template:
        return str(tokenizer.get_chat_template())  # the default one where there are several
    # A tokenizer adds its first token to bare texts, not to what a template wrote.
    begins = tokenizer.bos_token and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return f"{{{{ bos_token }}}}{PLAIN_TEMPLATE}" if begins else PLAIN_TEMPLATE


def _thinking_variables(template: str, thinking: bool) -> dict[str, Any]:
    """What to tell a template of thinking; only the variables that it names."""
    variables: dict[str, Any] = {name: thinking for name in _SWITCHES if re.search(rf"\b{name}\b", template)}
    if "<|channel|>" in template and "reasoning_effort" in template and not thinking:
        return {"reasoning_effort": "low"}  # gpt-oss cannot be kept from thinking
    return variables


def _without_system(messages: list[Message]) -> list[Message]:
    """The conversation with its system message at the head of the first message of the user."""
    if not messages or messages[0]["role"] != "system":
        return messages
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": system["content"]}, *rest]
    return [{"role": "user", "content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]


def _ending_tokens(model: Any, tokenizer: Any, others: set[int]) -> list[int]:
    """Tokens that end a reply: the generation config's, the tokenizer's own, and others.

    Any special token ends that of a base model: it begins another text. Seen with SmolLM2, whose next text was a chat.
    """
    configured = model.generation_config.eos_token_id
    tokens = {*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id, *others}
    return sorted(token for token in tokens if token is not None)
