"""How a model writes a conversation: its chat template, and the tokens that end a reply."""

from collections.abc import Sequence
from typing import Any

from pipelines.engines.loading import ending_tokens, takes_system, without_system
from pipelines.errors import InputError
from pipelines.prompts import Message

__all__ = ["ChatFormat"]


class ChatFormat:
    """Turns messages into a model's tokens.

    Args:
        model: The model, for its generation config.
        tokenizer: Its tokenizer.
        reference: Model reference, for messages of errors.

    Attributes:
        tokenizer: The tokenizer.
        template: Source of the chat template.
        ending: Tokens that end a reply.

    Raises:
        InputError: ``model_chat_template`` where the template cannot even write one message.
    """

    def __init__(self, model: Any, tokenizer: Any, reference: str) -> None:
        self.tokenizer = tokenizer
        self.template: str = tokenizer.chat_template
        self.ending = ending_tokens(model, tokenizer)
        self._reference = reference
        self._takes_system = takes_system(tokenizer, reference)

    def tokens(self, messages: Sequence[Message], *, reply: bool = True) -> list[int]:
        """Token ids of a conversation; with ``reply`` up to where the model's answer begins.

        Raises:
            InputError: ``model_chat_template`` where the template refuses this conversation.
        """
        from jinja2 import TemplateError

        written = list(messages) if self._takes_system else without_system(list(messages))
        try:
            tokens: list[int] = self.tokenizer.apply_chat_template(
                written, add_generation_prompt=reply, tokenize=True, return_dict=False
            )
        except TemplateError as error:  # "Conversation roles must alternate", for one
            raise InputError("model_chat_template", model=self._reference, reason=str(error).rstrip(".")) from error
        return tokens
