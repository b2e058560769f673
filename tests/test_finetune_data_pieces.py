"""Texts that are encoded piece by piece have the tokens that the tokenizer makes of them at once."""

import random
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import AutoTokenizer, T5Tokenizer

from finetune.data import pieces as pieces_module
from finetune.data.pieces import Pieces
from tests.doubles.seq2seq_training import ENGLISH, sentencepiece_model
from tests.doubles.tiny import SPECIAL, tiny_tokenizer

TEXTS = ["A river under a tree.", "今天天气很好。", "def f(x):\n    return x"]


def plain() -> Any:
    return tiny_tokenizer(TEXTS)


def with_odd_tokens() -> Any:
    """Added tokens of every kind: that eat blank space, stand for whole words only, or are ordinary text."""
    tokenizer = plain()
    tokenizer.add_tokens(
        [
            AddedToken("<mask>", special=True, lstrip=True),
            AddedToken("<right>", special=True, rstrip=True),
            AddedToken("whole", special=True, single_word=True),
            AddedToken("<|end|>x", special=True, normalized=False),
            AddedToken("<think>", special=False),
            AddedToken("\n\n", special=False),
        ]
    )
    return tokenizer


def sentencepiece(folder: Path) -> Any:
    """A Metaspace tokenizer, which puts a mark before the first word of what it encodes."""
    sentencepiece_model(folder / "spiece.model", [*ENGLISH, *TEXTS], pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
    return T5Tokenizer.from_pretrained(folder, extra_ids=3)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        "plain": plain(),
        "odd": with_odd_tokens(),
        "sentencepiece": sentencepiece(tmp_path_factory.mktemp("spm")),
    }


MARKS = [*SPECIAL, "<mask>", "<right>", "whole", "<|end|>x", "<think>", "\n\n", "</s>", "<extra_id_0>", "<unk>"]
PARTS = st.one_of(st.sampled_from([*MARKS, *TEXTS, " ", "\n", "a", "  x", "é"]), st.text(max_size=6))


@pytest.mark.parametrize("name", ["plain", "odd", "sentencepiece"])
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts=st.lists(st.lists(PARTS, max_size=8).map("".join), max_size=5))
def test_the_tokens_are_those_of_the_whole_text(name: str, texts: list[str], tokenizers: dict[str, Any]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    tokenizer = tokenizers[name]
    pieces = Pieces(tokenizer)
    wanted = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert pieces.encode(texts) == wanted
    assert pieces.encode(texts[::-1]) == wanted[::-1]  # from memory


@pytest.mark.model
def test_the_embedded_models_tokens_are_those_of_the_whole_text(embedded_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(embedded_model)
    pieces, draw = Pieces(tokenizer), random.Random(0)
    parts = ["<|im_start|>", "<|im_end|>", "user\n", " Hello", "\n", "今天", "  ", "<|endoftext|>"]
    texts = ["".join(draw.choices(parts, k=draw.randrange(12))) for _ in range(200)]
    assert pieces.encode(texts) == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def test_what_is_remembered_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces_module, "KNOWN", 5)
    tokenizer = plain()
    pieces = Pieces(tokenizer)
    for number in range(40):
        text = f"<|system|>the same<|end|>{number}<|end|>"
        assert pieces.encode([text]) == [tokenizer(text, add_special_tokens=False)["input_ids"]]
        assert len(pieces._known) <= 5 + 4
    long = "x" * (pieces_module.LONGEST_KNOWN + 1)
    pieces.encode([long])
    assert long not in pieces._known


def test_no_text_is_ever_cut_or_padded() -> None:
    tokenizer = plain()
    tokenizer.model_max_length = 5
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding()
    long, short = Pieces(tokenizer).encode(["river " * 20, "a"])
    assert len(long) > 20
    assert len(short) == 1


def test_a_tokenizer_in_python_encodes_whole_texts() -> None:
    class Slow:
        is_fast = False
        added_tokens_decoder: ClassVar[dict[int, Any]] = {}

        def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, Any]:
            return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

    assert Pieces(Slow()).encode(["ab", ""]) == [[97, 98], []]
