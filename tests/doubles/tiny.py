"""Tiny chat models, built in code and trained in seconds until they do what a test needs of them."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]

PAIRS = [
    ("What colour is the sky?", "The sky is blue, and sometimes grey."),
    ("Count to five.", "one two three four five"),
    ("Who are you?", "A tiny model."),
    ("说一句话", "今天天气很好。🙂"),
]
"""Questions and answers that ``tiny_chat_model`` learns by heart."""


def tiny_tokenizer(texts: list[str], vocabulary: int = 400) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with a chat template, trained on a few texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=2048,
    )


def tiny_llama(vocabulary: int, **changes: Any) -> LlamaForCausalLM:
    """A two-layer Llama with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        **{
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "bos_token_id": None,
            "eos_token_id": 1,
            "pad_token_id": 0,
            "tie_word_embeddings": True,
            **changes,
        },
    )
    return LlamaForCausalLM(config)


def tiny_chat_model(folder: Path, pairs: list[tuple[str, str]] = PAIRS, steps: int = 120) -> Path:
    """Train a tiny Llama on question and answer pairs until it gives them by heart, and save it with its tokenizer."""
    tokenizer = tiny_tokenizer([text for pair in pairs for text in pair])
    model = tiny_llama(len(tokenizer))
    rows = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
            tokenize=True,
            return_dict=False,
        )
        for question, answer in pairs
    ]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    answers = (ids == SPECIAL.index("<|assistant|>")).cumsum(1) > 0  # which question comes cannot be learned
    labels = ids.masked_fill((ids == 0) | ~answers, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = model(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05, f"the tiny model did not learn: loss {loss.item():.3f}"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
