"""A chat model of 1.2 billion random parameters: speed needs the shapes, not the knowledge.

The shapes are those of Llama 3.2 1B. What it writes is noise, so the copy-like line of the table shows only what
guesses cost where they all fail.
"""

from pathlib import Path
from typing import Any

from texts import PASSAGE, QUESTIONS, SENTENCES

__all__ = ["SHAPE", "build"]

SHAPE: dict[str, Any] = {
    "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}  # fmt: skip

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build(folder: str, **changes: Any) -> Path:
    """Write the model and a byte-level tokenizer into a folder, unless it is there; returns the folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = Path(folder)
    if (path / "config.json").exists():
        return path
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([PASSAGE, *QUESTIONS, *SENTENCES], trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", chat_template=CHAT_TEMPLATE
    ).save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(**{**SHAPE, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0, **changes})
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(path)
    return path
