"""What the tiny encoder–decoder models learn, and how they are trained in seconds until they know it by heart."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch

ENGLISH = [
    "Good morning.", "The cat sleeps.", "Where is the station?", "I like red apples.", "The train is late today.",
    "We drink cold water.", "She reads a good book.", "My brother lives here.", "It rains in the city.",
    "The door is open.", "They sing an old song.", "He has three dogs.",
]  # fmt: skip
GERMAN = [
    "Guten Morgen.", "Die Katze schläft.", "Wo ist der Bahnhof?", "Ich mag rote Äpfel.", "Der Zug ist heute spät.",
    "Wir trinken kaltes Wasser.", "Sie liest ein gutes Buch.", "Mein Bruder wohnt hier.", "Es regnet in der Stadt.",
    "Die Tür ist offen.", "Sie singen ein altes Lied.", "Er hat drei Hunde.",
]  # fmt: skip
FRENCH = [
    "Bonjour.", "Le chat dort.", "Où est la gare ?", "J'aime les pommes rouges.", "Le train est en retard aujourd'hui.",
    "Nous buvons de l'eau froide.", "Elle lit un bon livre.", "Mon frère habite ici.", "Il pleut dans la ville.",
    "La porte est ouverte.", "Ils chantent une vieille chanson.", "Il a trois chiens.",
]  # fmt: skip
TARGETS = {"de": GERMAN, "fr": FRENCH}

SIZES = {
    "d_model": 64, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "dropout": 0.0, "attention_dropout": 0.0,
    "activation_dropout": 0.0,
}  # fmt: skip
T5_SIZES = {
    "d_model": 96, "d_kv": 16, "d_ff": 128, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 6,
    "dropout_rate": 0.0,
}  # fmt: skip

ALL = [*ENGLISH, *GERMAN, *FRENCH]


def sentencepiece_model(path: Path, texts: Sequence[str], kind: str = "unigram", **options: Any) -> Path:
    """Train a SentencePiece model on a few texts."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=written, model_type=kind, minloglevel=2,
        **{"vocab_size": 220, "hard_vocab_limit": False, **options},
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(written.getvalue())
    return path


def pieces_of(path: Path) -> list[str]:
    """The pieces of a SentencePiece model but for its control symbols."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return [model.id_to_piece(i) for i in range(len(model)) if not (model.is_control(i) or model.is_unknown(i))]


def train(
    model: Any,
    tokenizer: Any,
    rows: list[tuple[list[int], list[int]]],
    *,
    forced: bool = False,
    steps: int = 400,
    rate: float = 5e-3,
) -> None:
    """Teach rows of (encoder ids, label ids) until the model has them by heart.

    Args:
        forced: The first label is a language, which is forced: nothing in the input tells it, so it cannot be learned.
    """
    pad = tokenizer.pad_token_id

    def padded(parts: list[list[int]], fill: int) -> torch.Tensor:
        width = max(map(len, parts))
        return torch.tensor([part + [fill] * (width - len(part)) for part in parts])

    ids, labels = padded([row[0] for row in rows], pad), padded([row[1] for row in rows], -100)
    inputs = {"input_ids": ids, "attention_mask": (ids != pad).long(), "labels": labels}
    if model.config.model_type == "led":
        inputs["global_attention_mask"] = torch.zeros_like(ids).index_fill(1, torch.tensor([0]), 1)
    if forced:
        start = torch.full((len(rows), 1), model.config.decoder_start_token_id)
        inputs["decoder_input_ids"] = torch.cat([start, labels[:, :-1]], 1).masked_fill(labels == -100, pad)
        inputs["labels"] = torch.cat([torch.full_like(start, -100), labels[:, 1:]], 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 10)
        loss = model(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if loss.item() < 0.002:
            break
    assert loss.item() < 0.05, f"the tiny {model.config.model_type} did not learn: loss {loss.item():.3f}"


def saved(folder: Path, model: Any, tokenizer: Any, **generation: Any) -> Path:
    """Save a checkpoint as it would lie on the Hub."""
    for name, value in generation.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows_of(tokenizer: Any, pairs: list[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
    return [(tokenizer(source)["input_ids"], tokenizer(text_target=target)["input_ids"]) for source, target in pairs]
