"""Reading prompts: apart or together gives the same states, and nothing but a little padding is computed besides."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.engines.cache import new_cache
from pipelines.engines.prefill import padded, read, read_rows
from pipelines.engines.sizes import PREFILL_CHUNK
from tests.test_pipelines_engines_decoding import tiny_model

MODEL = tiny_model("Llama")
NUMBERS = torch.randint(2, 120, (2000,), generator=torch.Generator().manual_seed(1)).tolist()
lengths = st.lists(st.integers(1, 300), min_size=1, max_size=6)


def finished(reading: Any) -> Any:
    """What a reading returns, and how often it can be interrupted."""
    passes = 1
    while True:
        try:
            assert next(reading) == []
            passes += 1
        except StopIteration as end:
            return end.value, passes


def rows_of(lengths: list[int]) -> list[list[int]]:
    return [NUMBERS[7 * place : 7 * place + length] for place, length in enumerate(lengths)]


@torch.inference_mode()
def prefix_of(length: int) -> Any:
    cache = new_cache(MODEL.config)
    ids, mask, positions = padded([NUMBERS[:length]], 0, MODEL.device)
    finished(read(MODEL, ids, mask, positions, cache, length))
    return cache


@settings(max_examples=25)
@given(lengths, st.sampled_from([0, 40]))
@torch.inference_mode()
def test_rows_that_are_read_apart_have_the_states_of_rows_that_are_read_alone(lengths: list[int], shared: int) -> None:
    prefix = prefix_of(shared) if shared else None
    (cache, logits), _ = finished(read_rows(MODEL, rows_of(lengths), prefix))
    for place, row in enumerate(rows_of(lengths)):
        (alone, expected), _ = finished(read_rows(MODEL, [row], prefix))
        assert torch.allclose(logits[place], expected[0], atol=1e-4)
        for layer, single in zip(cache.layers, alone.layers, strict=True):
            for states, those in ((layer.keys, single.keys), (layer.values, single.values)):
                assert torch.allclose(states[place, :, -len(row) :], those[0, :, -len(row) :], atol=1e-4)
                assert torch.equal(states[place, :, :shared], those[0, :, :shared])
                assert torch.isfinite(states).all()


@pytest.mark.parametrize("lengths", [[300, 5, 290, 6, 7, 280, 4], [3] * 40, [700], [129, 128, 127, 90, 60]])
@torch.inference_mode()
def test_little_padding_is_read_and_no_pass_is_longer_than_a_chunk(lengths: list[int]) -> None:
    sizes: list[int] = []
    handle = MODEL.model.embed_tokens.register_forward_hook(lambda _m, inputs, _o: sizes.append(inputs[0].numel()))
    try:
        _, passes = finished(read_rows(MODEL, rows_of(lengths), None))
    finally:
        handle.remove()
    assert sum(sizes) <= 1.35 * sum(lengths)
    assert max(sizes) <= PREFILL_CHUNK
    assert passes == len(sizes)  # whoever reads along gets a word in between any two passes


@torch.inference_mode()
def test_a_shared_beginning_is_not_changed_by_those_who_go_on_from_it() -> None:
    prefix = prefix_of(40)
    before = [(layer.keys.clone(), layer.values.clone()) for layer in prefix.layers]
    finished(read_rows(MODEL, rows_of([200, 3, 50]), prefix))
    assert prefix.get_seq_length() == 40
    for layer, (keys, values) in zip(prefix.layers, before, strict=True):
        assert torch.equal(layer.keys, keys)
        assert torch.equal(layer.values, values)
