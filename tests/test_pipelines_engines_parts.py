"""The parts of the local engine: text assembly, sampling, the cache, number formats."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor, TopPLogitsWarper

from pipelines import InputError
from pipelines.engines import load_engine
from pipelines.engines.assembly import TextAssembler
from pipelines.engines.cache import GrowingLayer, PrefixCache, expanded, is_growing, new_cache
from pipelines.engines.device import choose_device
from pipelines.engines.one_row import OneRowLinear, use_one_row_copies
from pipelines.engines.sampling import Sampler
from pipelines.generation import GenerationOptions
from tests.doubles.tiny import PAIRS, tiny_llama, tiny_tokenizer

TOKENIZER = tiny_tokenizer([text for pair in PAIRS for text in pair])


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_assembled_text_is_the_text_up_to_the_first_stop_string(text: str, stop: list[str]) -> None:
    assembler = TextAssembler(TOKENIZER, tuple(stop))
    pieces = []
    for token in TOKENIZER.encode(text, add_special_tokens=False):
        pieces.append(assembler.push(token))
        if assembler.stopped:
            break
    pieces.append(assembler.finish())
    expected = TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False), skip_special_tokens=True)
    ends = [expected.find(each) for each in stop if each in expected]
    if ends:
        # The first stop string to be complete ends the text; one that began earlier may have needed longer.
        assert any(expected[:end] == assembler.text for end in ends)
        assert not any(each in assembler.text for each in stop)
    else:
        assert assembler.text == expected
    assert "".join(pieces) == assembler.text


@given(st.text(alphabet="aéß中🙂", max_size=30))
def test_half_characters_are_held_back(text: str) -> None:
    assembler = TextAssembler(TOKENIZER)
    pieces = [assembler.push(token) for token in TOKENIZER.encode(text, add_special_tokens=False)]
    assert not any("\ufffd" in piece for piece in pieces)
    assert "".join(pieces) + assembler.finish() == text


@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.integers(1, 3))
def test_a_growing_layer_holds_what_a_dynamic_layer_holds(lengths: list[int], rows: int) -> None:
    growing, dynamic = GrowingLayer(), DynamicLayer()
    for length in lengths:
        keys, values = torch.randn(rows, 2, length, 4), torch.randn(rows, 2, length, 4)
        for mine, theirs in zip(growing.update(keys, values), dynamic.update(keys, values), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    kept = torch.tensor([rows - 1])
    growing.batch_select_indices(kept)
    dynamic.batch_select_indices(kept)
    keys = torch.randn(1, 2, 3, 4)
    torch.testing.assert_close(growing.update(keys, keys)[0], dynamic.update(keys, keys)[0], rtol=0, atol=0)
    assert growing.get_seq_length() == dynamic.get_seq_length() == sum(lengths) + 3


def test_an_expanded_prefix_leaves_the_original_untouched() -> None:
    model = tiny_llama(100)
    prefix = new_cache(model.config)
    with torch.inference_mode():
        model(input_ids=torch.arange(10)[None], past_key_values=prefix, use_cache=True)
        assert is_growing(prefix)
        copy = expanded(prefix, 3, 5, model.config)
        model(input_ids=torch.zeros((3, 5), dtype=torch.long), past_key_values=copy, use_cache=True)
    assert prefix.get_seq_length() == 10
    assert copy.get_seq_length() == 15
    torch.testing.assert_close(copy.layers[0].keys[2, :, :10], prefix.layers[0].keys[0])


def test_the_prefix_cache_forgets_the_least_recently_used() -> None:
    prefixes = PrefixCache(capacity=10)
    caches = {name: new_cache(tiny_llama(50).config) for name in "abc"}
    prefixes.put(None, (1,) * 4, caches["a"])
    prefixes.put(None, (2,) * 4, caches["b"])
    assert prefixes.get(None, (1,) * 4) is caches["a"]
    prefixes.put(None, (3,) * 4, caches["c"])
    assert prefixes.get(None, (2,) * 4) is None
    assert prefixes.get(None, (1,) * 4) is caches["a"]
    prefixes.put(None, (4,) * 11, caches["b"])  # larger than everything allowed
    assert prefixes.get(None, (4,) * 11) is None
    assert prefixes.get("an adapter", (1,) * 4) is None


@given(st.integers(0, 2**31), st.floats(0.05, 1.0))
def test_sampled_tokens_lie_in_the_nucleus(seed: int, top_p: float) -> None:
    logits = torch.randn((1, 3000), generator=torch.Generator().manual_seed(seed)) * 3
    options = GenerationOptions(temperature=0.7, top_p=top_p, seed=seed)
    sampler = Sampler.for_calls([options], [], torch.device("cpu"))
    allowed = torch.isfinite(TopPLogitsWarper(top_p)(None, logits / 0.7))[0]
    for _ in range(5):
        assert allowed[sampler(logits)[0]]


def test_the_nucleus_has_the_right_probabilities() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    options = GenerationOptions(temperature=1.0, top_p=0.9, seed=3)
    sampler = Sampler.for_calls([options], [], torch.device("cpu"))
    counts = torch.bincount(torch.cat([sampler(logits) for _ in range(4000)]), minlength=4) / 4000
    expected = torch.softmax(TopPLogitsWarper(0.9)(None, logits), -1)[0]
    torch.testing.assert_close(counts, expected, atol=0.03, rtol=0)


def test_the_penalty_is_that_of_transformers_on_the_reply_alone() -> None:
    generator = torch.Generator().manual_seed(5)
    options = GenerationOptions(temperature=0.0, repetition_penalty=1.3)
    sampler = Sampler.for_calls([options], [], torch.device("cpu"))
    theirs = RepetitionPenaltyLogitsProcessor(1.3)
    said: list[int] = []
    for _ in range(12):
        logits = torch.randn((1, 20), generator=generator)
        expected = theirs(torch.tensor([said]), logits.clone()) if said else logits
        said.append(int(sampler(logits)[0]))
        assert said[-1] == int(expected.argmax())


def test_tokens_that_end_a_reply_are_never_penalised() -> None:
    options = GenerationOptions(temperature=0.0, repetition_penalty=2.0)
    sampler = Sampler.for_calls([options], [7], torch.device("cpu"))
    logits = torch.tensor([[0.0] * 7 + [3.0, 2.9]])
    assert [int(sampler(logits)[0]) for _ in range(3)] == [7, 7, 7]


def test_keeping_rows_keeps_their_random_streams() -> None:
    logits = torch.zeros((3, 50))
    options = [GenerationOptions(temperature=1.0, seed=seed) for seed in (1, 2, 3)]
    whole = Sampler.for_calls(options, [], torch.device("cpu"))
    parted = Sampler.for_calls(options, [], torch.device("cpu"))
    assert whole(logits).tolist() == parted(logits).tolist()
    parted.keep([2])
    assert parted(logits[:1]).tolist() == whole(logits).tolist()[2:]


def test_one_row_copies_change_only_products_of_one_row() -> None:
    torch.manual_seed(0)
    model = tiny_llama(200)
    plain_many = model(input_ids=torch.arange(12)[None]).logits
    plain_one = model(input_ids=torch.tensor([[5]])).logits
    use_one_row_copies(model)
    assert isinstance(model.lm_head, OneRowLinear)
    assert "one_row_weight" not in "".join(model.state_dict())
    torch.testing.assert_close(model(input_ids=torch.arange(12)[None]).logits, plain_many, rtol=0, atol=0)
    one = model(input_ids=torch.tensor([[5]])).logits
    assert not torch.equal(one, plain_one)
    torch.testing.assert_close(one, plain_one, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("bfloat16", [True, False])
def test_the_processor_decides_the_format_with_a_reason(monkeypatch: pytest.MonkeyPatch, bfloat16: bool) -> None:
    monkeypatch.setattr("pipelines.engines.device.has_bfloat16_instructions", lambda: bfloat16)
    choice = choose_device("cpu")
    assert (choice.dtype, choice.one_row) == (("bfloat16", False) if bfloat16 else ("float32", True))
    assert choice.reason.code == ("dtype_cpu_bfloat16" if bfloat16 else "dtype_cpu_one_row")
    assert choose_device("cpu", "float32").one_row is False


@pytest.mark.parametrize("model", ["scripted", "smollm2-135m"])
def test_an_unknown_engine_option_names_the_nearest(model: str) -> None:
    with pytest.raises(InputError, match=r"no option '\w+'. Did you mean: (context_length|token_budget)"):
        load_engine(model, **{"context_lenght" if model == "scripted" else "token_bugdet": 1})
