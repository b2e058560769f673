"""What each family of models learns of a row: its reply, token by token, and the token that ends it; nothing else."""

from pathlib import Path
from typing import Any

import pytest

from finetune.data.rendering import Renderer
from finetune.data.row import Row
from finetune.training.batches import IGNORED, Collator
from finetune.training.examples import Examples, write_examples
from tests.doubles.tiny import CHAT_TEMPLATE
from tests.doubles.tiny_seq2seq import checkpoint
from tests.doubles.training_rows import THINKING, folder_of


def row(request: dict[str, Any], reply: str) -> Row:
    return Row("rows:1", request, reply, "rows:1", "rows")


DIALOGUE = [
    row({"messages": [{"role": "user", "content": "Hi."}]}, "Hello there."),
    row({"messages": [{"role": "user", "content": "Count to five, please."}]}, "one two three four five"),
]
TRANSLATION = [
    row({"text": "Good morning.", "source": "en", "target": "de"}, "Guten Morgen."),
    row({"text": "The train is late today.", "source": "en", "target": "de"}, "Der Zug ist heute spät."),
]


def learned(model: str, task: str, rows: list[Row], folder: Path) -> tuple[Renderer, list[list[int]], dict[str, Any]]:
    """The renderer, the ids that each row has as targets in one padded pass, and that pass."""
    renderer = Renderer.load(model, task)
    examples: Examples = write_examples(folder, (renderer.render(each) for each in rows))
    pad = renderer.tokenizer.pad_token_id or 0
    (part,) = Collator(examples, 100_000, pad)(range(len(rows)))["passes"]
    targets = [[token for token in line if token != IGNORED] for line in part["targets"].tolist()]
    order = sorted(range(len(rows)), key=lambda place: -int(examples.lengths[place]))  # long rows come first
    return renderer, [targets[order.index(place)] for place in range(len(rows))], part


@pytest.mark.model
@pytest.mark.parametrize(("task", "rows"), [("dialogue", DIALOGUE), ("translation", TRANSLATION)])
def test_the_embedded_model(task: str, rows: list[Row], tmp_path: Path) -> None:
    renderer, targets, part = learned("smollm2-135m", task, rows, tmp_path)
    end = renderer.tokenizer.convert_tokens_to_ids("<|im_end|>")
    for each, told in zip(rows, targets, strict=True):
        assert told == [*renderer.tokenizer.encode(each.reply, add_special_tokens=False), end]
    # <|im_end|> is padding, too, in this tokenizer: what pads is no target, and every row's own end is one.
    assert renderer.tokenizer.pad_token_id == end
    assert int((part["targets"] == end).sum()) == len(rows)


def test_a_chat_model(tmp_path: Path) -> None:
    renderer, targets, _ = learned(folder_of(tmp_path / "model", CHAT_TEMPLATE), "dialogue", DIALOGUE, tmp_path)
    assert [renderer.tokenizer.decode(told) for told in targets] == [f"{each.reply}<|end|>" for each in DIALOGUE]


def test_earlier_turns_of_the_assistant_are_learned_and_the_user_s_are_not(tmp_path: Path) -> None:
    turns = [("user", "Hi."), ("assistant", "Hello there."), ("user", "Count to five, please.")]
    talk = row({"messages": [{"role": role, "content": text} for role, text in turns]}, "one two three four five")
    renderer, (told,), _ = learned(folder_of(tmp_path / "model", CHAT_TEMPLATE), "dialogue", [talk], tmp_path)
    assert renderer.tokenizer.decode(told) == "Hello there.<|end|>one two three four five<|end|>"


def test_a_base_model_without_a_template(tmp_path: Path) -> None:
    renderer, targets, _ = learned(folder_of(tmp_path / "model", None), "dialogue", DIALOGUE, tmp_path)
    assert [renderer.tokenizer.decode(told) for told in targets] == [f"{each.reply}<|end|>" for each in DIALOGUE]
    assert renderer.format.plain  # type: ignore[attr-defined]


def test_a_thinking_model_learns_its_answer_without_thoughts(tmp_path: Path) -> None:
    renderer, targets, part = learned(folder_of(tmp_path / "model", THINKING), "dialogue", DIALOGUE, tmp_path)
    assert [renderer.tokenizer.decode(told) for told in targets] == [f"{each.reply}<|end|>" for each in DIALOGUE]
    # The empty thoughts stand in the prompt, as serving writes them when thinking is off.
    assert "<think>\n\n</think>\n\nHello there." in renderer.tokenizer.decode(part["input_ids"][1])


@pytest.mark.parametrize("family", ["t5", "marian"])
def test_encoder_decoder_models(family: str, tmp_path: Path) -> None:
    model = checkpoint(family, tmp_path)
    renderer, targets, part = learned(str(model), "translation", TRANSLATION, tmp_path / "examples")
    tokenizer = renderer.tokenizer
    for each, told in zip(TRANSLATION, targets, strict=True):
        assert told == tokenizer(text_target=each.reply)["input_ids"]  # transformers' own labels, the end included
    # The decoder begins with the token that the model starts with, one place before its targets.
    longest = tokenizer(text_target=TRANSLATION[1].reply)["input_ids"]
    assert part["decoder_input_ids"][0].tolist() == [tokenizer.pad_token_id, *longest[:-1]]
    assert part["attention_mask"].sum(1).tolist() == [
        int((part["input_ids"][place] != tokenizer.pad_token_id).sum()) for place in range(2)
    ]
