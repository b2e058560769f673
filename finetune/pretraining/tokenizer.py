"""A byte-level BPE tokenizer, trained on the documents, with the turns of a chat as tokens of their own."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.pretraining.documents import documents
from pipelines.home import disk_errors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["CHAT_TEMPLATE", "END_OF_TEXT", "load_tokenizer", "train_tokenizer"]

END_OF_TEXT, END_OF_TURN, PAD = "<|end_of_text|>", "<|end_of_turn|>", "<|pad|>"
_ROLES = ("system", "user", "assistant")
SPECIAL = [END_OF_TEXT, END_OF_TURN, PAD, *(f"<|{role}|>" for role in _ROLES)]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}" + END_OF_TURN + "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Each turn is the token of its role, its text, and a token that ends it: two tokens a turn are the least there can be,
which counts where a whole conversation has some hundred."""


def train_tokenizer(
    collected: Path, folder: Path, vocabulary: int, sample_characters: int, context: int, extra: list[str]
) -> "PreTrainedTokenizerFast":
    """Train the tokenizer, or load it where it was trained.

    Args:
        collected: Folder of the collected documents.
        folder: Where it goes, by one rename.
        vocabulary: Tokens at most; fewer where the text holds no more pairs to merge.
        sample_characters: Most text that is looked at.
        context: Tokens that the model reads at once.
        extra: More texts to look at: those of the chats.

    Raises:
        CinquainError: The disk is full.
    """
    if folder.is_dir():
        return load_tokenizer(folder)
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(collected, sample_characters, extra), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TURN,
        pad_token=PAD,
        extra_special_tokens=[f"<|{role}|>" for role in _ROLES],
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
    staged = folder.with_name(f".{folder.name}.tmp")
    with disk_errors(folder):
        shutil.rmtree(staged, ignore_errors=True)
        wrapped.save_pretrained(staged)
        staged.replace(folder)
    return load_tokenizer(folder)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def _sample(collected: Path, characters: int, extra: list[str]) -> Iterator[str]:
    """Texts to train on: every n-th document where all of them are too many."""
    about = json.loads((collected / "documents.json").read_bytes())
    total = sum(source["characters"] for source in about["sources"])
    every = max(1, -(-total // characters))
    for number, text in enumerate(documents(collected, "train")):
        if number % every == 0:
            yield text
    yield from extra
