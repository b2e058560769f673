"""Choosing the next token: greedy or sampled, one row or many."""

from dataclasses import dataclass

import torch

from pipelines.generation import GenerationOptions

__all__ = ["Sampler", "sampling_key"]

_HEAD = 1024
"""Tokens looked at first for nucleus sampling: sorting the whole vocabulary (49,152 entries here) costs milliseconds
a row, and the nucleus nearly always lies within the first thousand. Where it does not, the whole row is sorted:
the result is exact."""


def sampling_key(options: GenerationOptions) -> tuple[float, float, float]:
    """Calls with equal keys can be sampled together."""
    return (options.temperature or 0.0, options.top_p or 1.0, options.repetition_penalty or 1.0)


@dataclass
class Sampler:
    """Draws one token for each row of a batch whose calls share their sampling options.

    Each row has a random stream of its own, seeded by its call: a row draws the same tokens alone and in a batch.

    Attributes:
        temperature: 0 takes the most likely token.
        top_p: Probability of the nucleus.
        repetition_penalty: Divides the scores of tokens that the reply already holds.
        generators: One per row (unused when greedy).
        exempt: Tokens that are never penalised (those that end a reply).
    """

    temperature: float
    top_p: float
    repetition_penalty: float
    generators: list[torch.Generator]
    exempt: list[int]
    _seen: torch.Tensor | None = None

    @classmethod
    def for_calls(cls, options: list[GenerationOptions], exempt: list[int], device: torch.device) -> "Sampler":
        """A sampler for calls that share their ``sampling_key``."""
        generators = [torch.Generator(device).manual_seed(each.seed or 0) for each in options]
        return cls(*sampling_key(options[0]), generators, exempt)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Next tokens, shape (rows,), for logits of shape (rows, vocabulary)."""
        logits = self._penalised(logits.float())
        if self.temperature == 0.0:
            tokens = logits.argmax(-1)
        else:
            rows = [self._draw(row, generator) for row, generator in zip(logits, self.generators, strict=True)]
            tokens = torch.stack(rows)
        if self._seen is not None:
            self._seen.scatter_(1, tokens[:, None], True)
            self._seen[:, self.exempt] = False
        return tokens

    def keep(self, rows: list[int]) -> None:
        """Forget all rows but these."""
        self.generators = [self.generators[row] for row in rows]
        if self._seen is not None:
            self._seen = self._seen[rows]

    def _penalised(self, logits: torch.Tensor) -> torch.Tensor:
        if self.repetition_penalty == 1.0:
            return logits
        if self._seen is None:
            self._seen = torch.zeros_like(logits, dtype=torch.bool)
        penalised = torch.where(logits > 0, logits / self.repetition_penalty, logits * self.repetition_penalty)
        return torch.where(self._seen, penalised, logits)

    def _draw(self, logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        probabilities = torch.softmax(logits / self.temperature, -1)
        if self.top_p == 1.0:
            return torch.multinomial(probabilities, 1, generator=generator)[0]
        head, tokens = torch.topk(probabilities, min(_HEAD, len(probabilities)))
        if head.sum() < self.top_p:
            head, tokens = torch.sort(probabilities, descending=True)
        # A token belongs to the nucleus when the ones before it have not reached top_p yet; the first always does.
        nucleus = head.where(head.cumsum(-1) - head < self.top_p, 0.0)
        return tokens[torch.multinomial(nucleus, 1, generator=generator)[0]]
