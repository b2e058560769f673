"""The Transformer from nothing: each part against its definition, the whole against transformers' Llama."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from pipelines import pipeline
from pipelines.models.llama_format import from_llama, save_llama, to_llama
from pipelines.models.transformer import TransformerModel, attention, causal_attention, causal_mask, rotate
from tests.doubles.tiny import tiny_tokenizer


def small(seed: int = 0) -> TransformerModel:
    torch.manual_seed(seed)
    model = TransformerModel(vocab_size=97, embedding_dim=32, num_heads=4, num_layers=3)
    for weight in model.parameters():  # far from the small numbers of the beginning, where much looks right
        torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


def tokens(batch: int = 2, length: int = 11, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 97, (batch, length), generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 8), st.booleans())
def test_attention_is_torch_s_in_float64(queries: int, more: int, size: int, masked: bool) -> None:
    keys = queries + more
    generator = torch.Generator().manual_seed(queries * 100 + keys * 10 + size)
    query, key, value = (
        torch.randn(2, 3, length, size, dtype=torch.float64, generator=generator) for length in (queries, keys, keys)
    )
    mask = causal_mask(queries, keys) if masked else None
    found, weights = attention(query, key, value, mask)
    expected = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, queries, dtype=torch.float64))
    assert mask is None or (weights[..., ~mask] == 0).all()


@given(st.integers(0, 500), st.integers(0, 500), st.integers(-200, 200))
def test_turned_queries_and_keys_know_only_their_distance(first: int, second: int, shift: int) -> None:
    generator = torch.Generator().manual_seed(3)
    query, key = (torch.randn(1, 1, 1, 8, dtype=torch.float64, generator=generator) for _ in range(2))

    def product(one: int, two: int) -> float:
        turned = rotate(query, torch.tensor([one])), rotate(key, torch.tensor([two]))
        return float((turned[0] * turned[1]).sum())

    moved = product(first + 200 + shift, second + 200 + shift)
    assert product(first + 200, second + 200) == pytest.approx(moved, abs=1e-3)


@pytest.mark.parametrize("length", [1, 255, 256, 300, 513])
def test_training_on_a_processor_in_bfloat16_attends_as_the_fused_kernel_does(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    exact = [torch.randn(2, 2, length, 8, generator=generator) for _ in range(3)]
    parts = [each.to(torch.bfloat16).requires_grad_() for each in exact]
    found = causal_attention(*parts)  # by parts: gradients are wanted
    with torch.no_grad():
        fused = causal_attention(*parts)
    expected = functional.scaled_dot_product_attention(*(part.detach().float() for part in parts), is_causal=True)
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)
    torch.testing.assert_close(fused.float(), expected, rtol=0.02, atol=0.02)
    found[:, :, -1].sum().backward()
    leaves = [part.detach().float().requires_grad_() for part in parts]
    functional.scaled_dot_product_attention(*leaves, is_causal=True)[:, :, -1].sum().backward()
    for part, leaf in zip(parts, leaves, strict=True):
        assert part.grad is not None
        assert leaf.grad is not None
        torch.testing.assert_close(part.grad.float(), leaf.grad, rtol=0.05, atol=0.03)


def test_logits_are_those_of_llama_with_the_same_weights() -> None:
    model = small()
    with torch.inference_mode():
        torch.testing.assert_close(to_llama(model)(tokens()).logits, model(tokens()), rtol=1e-5, atol=1e-5)
    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=2,
        tie_word_embeddings=True, rms_norm_eps=1e-5,
    )  # fmt: skip
    torch.manual_seed(5)
    llama = LlamaForCausalLM(config).eval()
    with torch.inference_mode():
        torch.testing.assert_close(from_llama(llama)(tokens()), llama(tokens()).logits, rtol=1e-5, atol=1e-5)


def test_a_llama_with_other_parts_is_refused() -> None:
    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=80, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match="grouped heads, an output matrix of its own"):
        from_llama(LlamaForCausalLM(config))
    with pytest.raises(ValueError, match="no multiple"):
        TransformerModel(embedding_dim=30, num_heads=4)


def test_the_model_of_the_documents() -> None:
    model = TransformerModel(vocab_size=10000, embedding_dim=512, num_heads=8, num_layers=6)
    assert model(torch.zeros(1, 3, dtype=torch.long)).shape == (1, 3, 10000)
    layer = 4 * 512**2 + 3 * 512 * 1408 + 2 * 512
    assert sum(weight.numel() for weight in model.parameters()) == 10000 * 512 + 6 * layer + 512
    with torch.inference_mode():
        loss = model.loss(torch.randint(0, 10000, (4, 64)))
    assert float(loss) == pytest.approx(math.log(10000), rel=0.02)


@pytest.mark.parametrize("parts", [(11,), (1, 10), (5, 1, 5), (1,) * 11])
def test_reading_in_parts_is_reading_at_once(parts: tuple[int, ...]) -> None:
    model, cache = small(), []
    with torch.inference_mode():
        found = torch.cat([model(part, cache) for part in tokens().split(parts, dim=1)], dim=1)
        torch.testing.assert_close(found, model(tokens()), rtol=1e-4, atol=1e-4)


def test_a_batch_is_its_rows_and_weights_change_nothing() -> None:
    model, weights = small(), []
    with torch.inference_mode():
        together = model(tokens(4))
        for row, alone in zip(together, tokens(4), strict=True):
            torch.testing.assert_close(row, model(alone[None])[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model(tokens(4), weights=weights), together, rtol=1e-4, atol=1e-4)
    assert [tuple(each.shape) for each in weights] == [(4, 4, 11, 11)] * 3


@given(st.integers(0, 10), st.integers(0, 96))
def test_no_token_sees_a_later_one(place: int, other: int) -> None:
    model, changed = small(), tokens()
    changed[:, place] = other
    with torch.inference_mode():
        assert torch.equal(model(changed)[:, :place], model(tokens())[:, :place])


def test_generation_is_repeated_reading_and_chance_has_a_seed() -> None:
    model = small()
    found = model.generate(tokens(), 6)
    expected = tokens()
    with torch.inference_mode():
        for _ in range(6):
            expected = torch.cat((expected, model(expected)[:, -1].argmax(-1, keepdim=True)), dim=1)
    assert torch.equal(found, expected)
    drawn = [model.generate(tokens(), 6, 1.0, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_it_learns_eight_sequences_by_heart_and_answers_through_the_pipeline(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(["The moon is near and bright.", "A red boat waits."], vocabulary=300)
    torch.manual_seed(0)
    model = TransformerModel(len(tokenizer), embedding_dim=64, num_heads=4, num_layers=2)
    rows = torch.randint(5, len(tokenizer), (8, 16), generator=torch.Generator().manual_seed(2))
    rows[:, 0] = torch.arange(5, 13)  # the first token tells which
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = model.loss(rows)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05
    assert torch.equal(model.generate(rows[:, :1], 15), rows)
    save_llama(model, tokenizer, tmp_path / "mine")
    answer = pipeline("creative_writing", str(tmp_path / "mine"))(brief="the moon", max_new_tokens=4)
    assert answer.usage.completion_tokens > 0
