"""How a checkpoint wants to be decoded: beams, length penalty, repetition, shortest reply.

It is said in one of three places, in this order: ``generation_config.json``; the same keys in an old ``config.json``
(transformers moves them into the generation config itself); ``task_specific_params`` of the config, which T5 and BART
keep for each task.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

__all__ = ["DEFAULT_BEAMS", "Advice", "advice_for"]

DEFAULT_BEAMS = 4
"""Beams where a checkpoint says nothing: what NLLB (arXiv:2207.04672) and T5 (arXiv:1910.10683) were measured with.
Beams are for one right answer; a reply to an instruction is decoded greedily."""

MIN_LENGTH_SHARE = 10
"""A reply is made at least as long as the checkpoint advises, but not longer than a tenth of what it read: BART's
56 tokens (of news articles with 800) would make it invent a second sentence for an input of one."""


@dataclass(frozen=True)
class Advice:
    """Decoding of one task, by the names of transformers' generation config.

    Attributes:
        num_beams: Hypotheses that are kept; 1 is greedy.
        length_penalty: Exponent of the length that a hypothesis' score is divided by.
        no_repeat_ngram_size: No run of so many tokens comes twice; 0 is off.
        encoder_no_repeat_ngram_size: The same for runs of the input.
        early_stopping: Whether the search ends as soon as there are as many whole hypotheses as beams.
        min_length: Tokens before the reply may end.
        repetition_penalty: Divides the scores of tokens that the reply already holds; 1 is off.
    """

    num_beams: int = DEFAULT_BEAMS
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    early_stopping: bool | str = False
    min_length: int = 0
    repetition_penalty: float = 1.0

    def shortest(self, prompt_tokens: int) -> int:
        """The least tokens of a reply to an input of this many."""
        return min(self.min_length, prompt_tokens // MIN_LENGTH_SHARE)


def advice_for(task: str, generation_config: Any, task_params: dict[str, Any] | None, *, instruction: bool) -> Advice:
    """The decoding that a checkpoint advises for a task.

    Args:
        task: ``translation_en_to_de``, ``summarization``…: the key in ``task_params``.
        generation_config: The model's, as transformers loaded it.
        task_params: ``task_specific_params`` of the config.
        instruction: The model answers an instruction, which none of the advice was meant for.
    """
    if instruction:
        return Advice(num_beams=getattr(generation_config, "num_beams", None) or 1)
    said: dict[str, Any] = {}
    specific = (task_params or {}).get(task) or {}
    for each in fields(Advice):
        value = getattr(generation_config, each.name, None)
        if value is None:
            value = specific.get(each.name)
        if value is not None:
            said[each.name] = value
    return replace(Advice(), **said)
