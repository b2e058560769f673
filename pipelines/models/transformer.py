"""A Transformer, to be read from top to bottom: tokens in, the logits of each next token out.

The parts in their order: attention, positions, a layer, the model. It is the decoder of "Attention Is All You Need"
(Vaswani et al. 2017, arXiv:1706.03762) as language models are built today, so that its weights fit the Llama format
(``pipelines.models.llama_format``). Shapes are written (batch, heads, length, size of a head).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "NORM_EPSILON",
    "Cache",
    "FeedForward",
    "Layer",
    "SelfAttention",
    "TransformerModel",
    "attention",
    "causal_attention",
    "causal_mask",
    "rotate",
]

NORM_EPSILON = 1e-5
"""Keeps a norm from dividing by zero; Llama's own value."""
_PART, _LONGEST_PLAIN = 256, 1024
"""Queries of a part, and most tokens, of plain attention, see ``causal_attention``."""
Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer for the tokens that were read, each (batch, heads, length, size of a head)."""


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """softmax(QKᵀ/√d_k)V: each query takes the values of the keys that are like it (Vaswani et al. 2017, equation 1).

    Args:
        query: (…, queries, size).
        key: (…, keys, size).
        value: (…, keys, size).
        mask: True where a query may see a key, (queries, keys) or of a shape that broadcasts to the weights.

    Returns:
        What each query takes, (…, queries, size), and the weights, (…, queries, keys), whose rows sum to one.
    """
    scores = query / math.sqrt(query.shape[-1]) @ key.transpose(-2, -1)  # divided before: Q is smaller than QKᵀ
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = scores.softmax(dim=-1)
    return weights @ value, weights


def causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention in which each token sees itself and those before it, as fast as this device can.

    That is torch's fused kernel (SDPA), but for training in bfloat16 on a processor. There plain attention over parts
    of the queries, each with the keys that it may see, takes 17 ms where SDPA takes 39 (4 rows, 4 heads, 512 tokens of
    64, forward and backward, one thread, torch 2.13), 73 for 95 at 1,024 tokens, and more than SDPA at 2,048.

    Args:
        query: (…, length, size).
        key: As ``query``.
        value: As ``query``.

    Returns:
        As ``query``.
    """
    length = query.shape[-2]
    trains = torch.is_grad_enabled() and query.dtype == torch.bfloat16 and query.device.type == "cpu"
    if not trains or length > _LONGEST_PLAIN:
        return functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    parts = []
    for start in range(0, length, _PART):
        end = min(start + _PART, length)
        seen = key[..., :end, :], value[..., :end, :]
        parts.append(attention(query[..., start:end, :], *seen, causal_mask(end - start, end))[0])
    return torch.cat(parts, dim=-2)


def causal_mask(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """Which of ``keys`` tokens each of the last ``queries`` may see: itself and those before it; bool."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def rotate(heads: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Turn pairs of numbers by an angle that grows with the position (RoPE, Su et al. 2021, arXiv:2104.09864).

    The product of a turned query and a turned key then depends on how far apart they are, and on nothing else of their
    positions. Number i is paired with number i + size / 2, as the Llama format has it.

    Args:
        heads: Queries or keys, (batch, heads, length, size); the size is even.
        positions: (length,), of the tokens in the text.
        base: The slowest pair turns by about 1 / base a token.
    """
    half = heads.shape[-1] // 2
    # Angles need float32: bfloat16 cannot tell position 257 from 258.
    speeds = base ** (-torch.arange(half, device=heads.device, dtype=torch.float32) / half)
    angles = positions.float()[:, None] * speeds
    cosine, sine = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
    first, second = heads[..., :half], heads[..., half:]
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


class SelfAttention(nn.Module):
    """Several attentions side by side, each on its own part of the embedding."""

    def __init__(self, embedding_dim: int, num_heads: int, base: float) -> None:
        super().__init__()
        if embedding_dim % (2 * num_heads):
            raise ValueError(f"embedding_dim {embedding_dim} is no multiple of twice num_heads {num_heads}")
        self.num_heads, self.base = num_heads, base
        self.query = nn.Linear(embedding_dim, embedding_dim, bias=False)
        self.key = nn.Linear(embedding_dim, embedding_dim, bias=False)
        self.value = nn.Linear(embedding_dim, embedding_dim, bias=False)
        self.output = nn.Linear(embedding_dim, embedding_dim, bias=False)

    def forward(
        self, hidden: Tensor, past: tuple[Tensor, Tensor] | None = None, weights: list[Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Let each token look back.

        Args:
            hidden: (batch, length, embedding_dim).
            past: Keys and values of the tokens before these.
            weights: Where given, the plain attention runs, and its weights are appended.

        Returns:
            (batch, length, embedding_dim), and keys and values of all tokens so far.
        """
        batch, length, _ = hidden.shape
        query, key, value = (
            part(hidden).view(batch, length, self.num_heads, -1).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        before = past[0].shape[2] if past else 0
        positions = torch.arange(before, before + length, device=hidden.device)
        query, key = rotate(query, positions, self.base), rotate(key, positions, self.base)
        if past:
            key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        if weights is not None:
            found, seen = attention(query, key, value, causal_mask(length, key.shape[2], hidden.device))
            weights.append(seen)
        elif before:
            mask = causal_mask(length, key.shape[2], hidden.device)
            found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            found = causal_attention(query, key, value)
        return self.output(found.transpose(1, 2).reshape(batch, length, -1)), (key, value)


class FeedForward(nn.Module):
    """What each token does by itself: widen, gate, narrow (SwiGLU, Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, embedding_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(embedding_dim, hidden_dim, bias=False)
        self.up = nn.Linear(embedding_dim, hidden_dim, bias=False)
        self.down = nn.Linear(hidden_dim, embedding_dim, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, embedding_dim) to the same shape."""
        return self.down(functional.silu(self.gate(hidden)) * self.up(hidden))


class Layer(nn.Module):
    """Look back, then think; both add to what is there.

    The norm stands before each part: so deep models train without a warm-up that is just right (Xiong et al. 2020,
    arXiv:2002.04745). It divides by the root mean square (Zhang and Sennrich 2019, arXiv:1910.07467): as good as
    subtracting the mean too, and cheaper.
    """

    def __init__(self, embedding_dim: int, num_heads: int, hidden_dim: int, base: float) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(embedding_dim, eps=NORM_EPSILON)
        self.attention = SelfAttention(embedding_dim, num_heads, base)
        self.feed_forward_norm = nn.RMSNorm(embedding_dim, eps=NORM_EPSILON)
        self.feed_forward = FeedForward(embedding_dim, hidden_dim)

    def forward(
        self, hidden: Tensor, past: tuple[Tensor, Tensor] | None = None, weights: list[Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As ``SelfAttention.forward``."""
        looked, present = self.attention(self.attention_norm(hidden), past, weights)
        hidden = hidden + looked
        return hidden + self.feed_forward(self.feed_forward_norm(hidden)), present


class TransformerModel(nn.Module):
    """A causal language model.

    Args:
        vocab_size: Number of different tokens.
        embedding_dim: Numbers that stand for a token on its way through the layers.
        num_heads: Attentions of a layer; ``embedding_dim`` is a multiple of twice as many.
        num_layers: Layers.
        hidden_dim: Width of the feed-forward part; by default 8/3 of ``embedding_dim``, which makes its three matrices
            as large as the two of width 4 in the original, rounded up to a multiple of 64.
        rope_base: See ``rotate``.
    """

    def __init__(
        self,
        vocab_size: int = 10_000,
        embedding_dim: int = 512,
        num_heads: int = 8,
        num_layers: int = 6,
        *,
        hidden_dim: int | None = None,
        rope_base: float = 10_000.0,
    ) -> None:
        super().__init__()
        hidden_dim = hidden_dim or 64 * math.ceil(embedding_dim * 8 / 3 / 64)
        self.num_heads, self.hidden_dim, self.rope_base = num_heads, hidden_dim, rope_base
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.layers = nn.ModuleList(Layer(embedding_dim, num_heads, hidden_dim, rope_base) for _ in range(num_layers))
        self.norm = nn.RMSNorm(embedding_dim, eps=NORM_EPSILON)
        self._initialize()

    def forward(self, tokens: Tensor, cache: Cache | None = None, weights: list[Tensor] | None = None) -> Tensor:
        """Logits of the token after each token.

        Args:
            tokens: Ids, (batch, length).
            cache: What earlier calls read; these tokens follow it, and their keys and values are added to it. An empty
                list begins one.
            weights: Where given, attention weights of each layer are appended, (batch, heads, length, keys).

        Returns:
            (batch, length, vocab_size). The matrix that reads tokens also writes them: fewer weights, and better small
            models (Press and Wolf 2017, arXiv:1608.05859).
        """
        hidden = self.embedding(tokens)
        for index, layer in enumerate(self.layers):
            hidden, present = layer(hidden, cache[index] if cache and index < len(cache) else None, weights)
            if cache is not None:
                cache[index : index + 1] = [present]
        return self.norm(hidden) @ self.embedding.weight.T

    def loss(self, tokens: Tensor) -> Tensor:
        """Mean cross-entropy of each token given those before it, in nats; a scalar."""
        logits = self(tokens[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())

    @torch.inference_mode()
    def generate(
        self, tokens: Tensor, max_new_tokens: int, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Continue each row.

        Args:
            tokens: Ids, (batch, length), at least one each.
            max_new_tokens: How many are added.
            temperature: 0 takes the likeliest token.
            generator: Source of chance.

        Returns:
            (batch, length + max_new_tokens).
        """
        cache: Cache = []
        read = tokens
        for _ in range(max_new_tokens):
            logits = self(read, cache)[:, -1].float()
            if temperature > 0:
                read = torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator)
            else:
                read = logits.argmax(dim=-1, keepdim=True)
            tokens = torch.cat((tokens, read), dim=1)
        return tokens

    def _initialize(self) -> None:
        """Small numbers; smaller ones where a layer adds to the stream, which would grow with depth (GPT-2)."""
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                adds = name.endswith(("attention.output.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * len(self.layers)) if adds else 0.02)
