"""How a step is cut into passes changes memory and time, never its gradient."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from finetune.data.rendering import Rendered
from finetune.training.batches import IGNORED, Collator, Steps, cut
from finetune.training.examples import Examples, write_examples
from finetune.training.trainer import inputs_for, summed_loss
from tests.doubles.tiny import tiny_llama

PAD = 0
BEGINNING = [5, 6, 7, 8]


def rendered(seed: int = 0) -> list[Rendered]:
    """Rows of very different lengths with one beginning; the last two of one token to learn and of several turns."""
    draw = torch.Generator().manual_seed(seed)

    def some(count: int) -> list[int]:
        return torch.randint(9, 60, (count,), generator=draw).tolist()

    rows = []
    for asked, said in ((3, 5), (20, 2), (1, 30), (9, 9), (14, 1)):
        rows.append(Rendered([*BEGINNING, *some(asked + said)], [False] * (4 + asked) + [True] * said))
    turns = [False] * 6 + [True] * 3 + [False] * 4 + [True] * 5
    return [*rows, Rendered([*BEGINNING, *some(len(turns) - 4)], turns)]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    return write_examples(tmp_path_factory.mktemp("examples"), rendered())


@pytest.fixture(scope="module")
def model() -> Any:
    """A tiny Llama in float64 with an adapter that does something."""
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights="gaussian")
    model = get_peft_model(tiny_llama(64), config).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter += 0.1 * torch.randn(parameter.shape, dtype=torch.float64)
    return model


def step(model: Any, examples: Examples, tokens: int, places: list[int], **options: Any) -> tuple[float, list[Any]]:
    """Loss and gradients of a step, in passes of so many tokens."""
    model.zero_grad()
    batch = Collator(examples, tokens, PAD, **options)(places)
    losses = [summed_loss(model, part, inputs_for(model)) for part in batch["passes"]]
    (sum(losses) / batch["trained"]).backward()  # type: ignore[union-attr]
    gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.requires_grad]
    return sum(losses).item(), gradients  # type: ignore[union-attr]


def plain(model: Any, examples: Examples, places: list[int]) -> tuple[float, list[Any]]:
    """The same in the plainest way: each row alone, logits everywhere (transformers' own loss rounds to float32)."""
    model.zero_grad()
    total, trained = torch.zeros((), dtype=torch.float64), 0
    for place in places:
        ids = torch.from_numpy(examples[place].tokens.astype("int64"))
        wanted = torch.from_numpy(examples[place].labels.copy())
        told = model(input_ids=ids[None]).logits[0, :-1].log_softmax(-1)
        total = total - told[range(len(ids) - 1), ids[1:]][wanted[1:]].sum()
        trained += int(wanted[1:].sum())
    (total / trained).backward()
    return total.item(), [parameter.grad.clone() for parameter in model.parameters() if parameter.requires_grad]


@pytest.mark.parametrize(
    ("tokens", "packed"), [(10_000, False), (40, False), (1, False), (10_000, True), (40, True), (1, True)]
)
def test_the_gradient_of_a_step_does_not_depend_on_its_passes(
    model: Any, examples: Examples, tokens: int, packed: bool
) -> None:
    places = [3, 0, 5, 1, 4, 2]
    expected, reference = plain(model, examples, places)
    loss, gradients = step(model, examples, tokens, places, packed=packed)
    assert loss == pytest.approx(expected, rel=1e-12)
    for ours, theirs in zip(gradients, reference, strict=True):
        # Llama's norms go back through float32, where the beginning's gradient is rounded before or after it is added.
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients)


def test_packed_rows_do_not_see_each_other(model: Any, examples: Examples) -> None:
    (alone,) = Collator(examples, 10_000, PAD, packed=True)([2])["passes"]
    (beside,) = Collator(examples, 10_000, PAD, packed=True)([2, 0, 1])["passes"]
    ids = beside["input_ids"]
    changed = ids.clone()
    # The longest row comes first: everything behind it is replaced.
    own = alone["input_ids"].shape[1]
    changed[:, own:] = 61
    mask, positions = beside["attention_mask"], beside["position_ids"]
    with torch.no_grad():
        whole = [
            model(input_ids=each, attention_mask=mask, position_ids=positions).logits[:, :own]
            for each in (ids, changed)
        ]
        single = model(input_ids=alone["input_ids"]).logits
    assert torch.equal(whole[0], whole[1])
    torch.testing.assert_close(whole[0], single, rtol=1e-10, atol=1e-12)


def test_what_all_rows_begin_with_is_computed_once(examples: Examples) -> None:
    (packed,) = Collator(examples, 10_000, PAD, packed=True)([0, 1, 2])["passes"]
    lengths = [len(examples[place].tokens) - 1 for place in (0, 1, 2)]
    assert packed["input_ids"].shape == (1, sum(lengths) - 2 * len(BEGINNING))
    assert packed["input_ids"][0, : len(BEGINNING)].tolist() == BEGINNING


@pytest.mark.parametrize("packed", [False, True])
def test_logits_are_computed_only_where_the_loss_is(model: Any, examples: Examples, packed: bool) -> None:
    (part,) = Collator(examples, 10_000, PAD, packed=packed)([1, 4])["passes"]  # replies of 2 tokens and of 1
    shapes: list[tuple[int, ...]] = []
    hook = model.get_output_embeddings().register_forward_hook(lambda _, __, logits: shapes.append(logits.shape))
    loss = summed_loss(model, part, inputs_for(model))
    without = frozenset(inputs_for(model)) - {"logits_to_keep"}  # a model that cannot leave any out
    assert torch.allclose(loss, summed_loss(model, part, without), rtol=1e-12)
    hook.remove()
    assert shapes == [(1, 3, 64), (*part["targets"].shape, 64)]


def test_padded_rows_need_no_mask(model: Any, examples: Examples) -> None:
    (part,) = Collator(examples, 10_000, PAD)([0, 1, 2])["passes"]
    assert set(part) == {"input_ids", "targets", "read"}  # a mask keeps CUDA from its fastest attention
    ids = part["input_ids"]
    lengths = [len(examples[place].tokens) - 1 for place in (2, 1, 0)]  # the longest first
    changed = ids.clone()
    for row, length in enumerate(lengths):
        changed[row, length:] = 61
    with torch.no_grad():
        before, after = model(input_ids=ids).logits, model(input_ids=changed).logits
    for row, length in enumerate(lengths):
        assert torch.equal(before[row, :length], after[row, :length])
    assert int(part["read"]) == sum(len(examples[place].tokens) for place in (0, 1, 2))


def test_a_process_without_examples_reads_one_for_nothing(model: Any, examples: Examples) -> None:
    batch = Collator(examples, 100, PAD)([])
    assert int(batch["trained"]) == 0
    (part,) = batch["passes"]
    loss = summed_loss(model, part, inputs_for(model))
    loss.backward()
    assert loss.item() == 0.0


def test_padding_is_no_target_even_where_it_is_the_token_that_ends_a_reply(tmp_path: Path) -> None:
    end = 1
    rows = [
        Rendered([4, 5, 9, end], [False, False, True, True]),
        Rendered([4, 5, 6, 7, 8, end], [False] * 4 + [True] * 2),
    ]
    (part,) = Collator(write_examples(tmp_path, rows), 100, end)([0, 1])["passes"]
    told = (part["targets"] != IGNORED).sum(1).tolist()
    assert told == [2, 2]  # each row's end once, and no padding
    assert (part["targets"] == end).sum(1).tolist() == [1, 1]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 200), st.booleans())
def test_passes_hold_every_example_once_and_keep_to_their_size(lengths: list[int], tokens: int, packed: bool) -> None:
    bundles = cut(lengths, tokens, packed)
    assert sorted(place for bundle in bundles for place in bundle) == list(range(len(lengths)))
    for bundle in bundles:
        sizes = [lengths[place] for place in bundle]
        assert len(bundle) == 1 or (sum(sizes) if packed else max(sizes) * len(sizes)) <= tokens


@given(st.integers(1, 50), st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))
def test_processes_share_the_examples_of_each_step(count: int, size: int, processes: int, epoch: int) -> None:
    alone = Steps(count, size, seed=3)
    parts = [Steps(count, size, seed=3, rank=rank, processes=processes) for rank in range(processes)]
    for each in (alone, *parts):
        each.set_epoch(epoch)
    whole = list(alone)
    assert sorted(place for step in whole for place in step) == list(range(count))
    assert len(whole) == len(alone) == len(parts[0])
    for step_, shares in zip(whole, zip(*parts, strict=True), strict=True):
        assert sorted(place for share in shares for place in share) == sorted(step_)


def test_epochs_have_orders_of_their_own() -> None:
    steps = Steps(30, 30, seed=0)
    (first,) = steps
    steps.set_epoch(1)
    (second,) = steps
    assert first != second
    assert next(iter(Steps(30, 30, seed=1))) not in (first, second)
