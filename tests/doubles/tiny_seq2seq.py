"""Tiny encoder–decoder models of every family, with the real tokenizer classes, trained on a dozen sentences.

They are trained through the tokenizers' own ``text_target``, so that what the engine makes of a request has to agree
with transformers and not with itself.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import ByteLevelBPETokenizer
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as FLORES_CODES

from tests.doubles.seq2seq_training import (
    ALL,
    ENGLISH,
    SIZES,
    T5_SIZES,
    TARGETS,
    pieces_of,
    rows_of,
    saved,
    sentencepiece_model,
    train,
)


def tiny_marian(folder: Path, targets: Sequence[str] = ("de",)) -> Path:
    """OPUS-MT: two SentencePiece models and one vocabulary; with several targets a tag before each source."""
    torch.manual_seed(0)
    tags = {"de": ">>deu<<", "fr": ">>fra<<"}
    raw = folder / "raw"
    source = sentencepiece_model(raw / "source.spm", ENGLISH)
    target = sentencepiece_model(raw / "target.spm", [text for each in targets for text in TARGETS[each]])
    pieces = dict.fromkeys([*pieces_of(source), *pieces_of(target)])
    many = [tags[each] for each in targets] if len(targets) > 1 else []
    vocabulary = ["</s>", "<unk>", *many, *pieces, "<pad>"]
    (raw / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(vocabulary)}))
    tokenizer = transformers.MarianTokenizer(
        str(source), str(target), str(raw / "vocab.json"), source_lang="en",
        target_lang="mul" if many else targets[0],
    )  # fmt: skip
    pad = tokenizer.pad_token_id
    config = transformers.MarianConfig(
        vocab_size=len(vocabulary), pad_token_id=pad, decoder_start_token_id=pad, eos_token_id=0,
        forced_eos_token_id=0, max_position_embeddings=256, **SIZES,
    )  # fmt: skip
    model = transformers.MarianMTModel(config)
    pairs = [
        (f"{tags[each]} {text}" if many else text, translated)
        for each in targets
        for text, translated in zip(ENGLISH, TARGETS[each], strict=True)
    ]
    train(model, tokenizer, rows_of(tokenizer, pairs))
    return saved(folder, model, tokenizer, num_beams=4, bad_words_ids=[[pad]], forced_eos_token_id=0, max_length=256)


def tiny_t5(folder: Path, *, prefixes: bool = True, extra: Sequence[tuple[str, str]] = (), **config: Any) -> Path:
    """T5: prefixes in the text, named in ``task_specific_params``."""
    torch.manual_seed(0)
    names = {"de": "German", "fr": "French"}
    said = {
        f"translation_en_to_{code}": {"prefix": f"translate English to {name}: ", "num_beams": 4, "max_length": 60}
        for code, name in names.items()
    }
    pairs = list(extra)
    if prefixes:
        pairs += [
            (said[f"translation_en_to_{code}"]["prefix"] + text, translated)
            for code in names
            for text, translated in zip(ENGLISH, TARGETS[code], strict=True)
        ]
    sentencepiece_model(
        folder / "raw" / "spiece.model", [*ALL, *(text for pair in pairs for text in pair)], pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, vocab_size=300,
    )  # fmt: skip
    (folder / "raw" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer"}))
    tokenizer = transformers.T5Tokenizer.from_pretrained(folder / "raw", extra_ids=10, model_max_length=128)
    settings = transformers.T5Config(
        vocab_size=len(tokenizer), decoder_start_token_id=0, task_specific_params=said if prefixes else None,
        **{**T5_SIZES, **config},
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(settings)
    train(model, tokenizer, rows_of(tokenizer, pairs), rate=3e-3)
    return saved(folder, model, tokenizer)


def tiny_mt5(folder: Path) -> Path:
    """mT5: gated, bytes for what its vocabulary lacks, a SentencePiece model alone; tuned for two pairs that it names.

    In transformers 5 its tokenizer is T5's.
    """
    torch.manual_seed(0)
    said = {f"translation_en_to_{code}": {"prefix": f"{code}: ", "num_beams": 4} for code in TARGETS}
    raw = folder / "raw"
    sentencepiece_model(
        raw / "spiece.model", [*ALL, "de: fr: "], pad_id=0, eos_id=1, unk_id=2, bos_id=-1, vocab_size=480,
        byte_fallback=True,
    )  # fmt: skip
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 128}
    (raw / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = transformers.T5Tokenizer.from_pretrained(raw)
    config = transformers.MT5Config(
        vocab_size=len(tokenizer), decoder_start_token_id=0, task_specific_params=said, **T5_SIZES
    )
    model = transformers.MT5ForConditionalGeneration(config)
    pairs = [
        (said[f"translation_en_to_{code}"]["prefix"] + text, translated)
        for code, translations in TARGETS.items()
        for text, translated in zip(ENGLISH, translations, strict=True)
    ]
    train(model, tokenizer, rows_of(tokenizer, pairs), rate=3e-3)
    model.save_pretrained(folder)
    for name in ("spiece.model", "tokenizer_config.json"):  # as Google published it: without a tokenizer.json
        shutil.copy(raw / name, folder)
    return folder


def tiny_m2m100(folder: Path) -> Path:
    """M2M100: ``__de__`` before the text, and forced as the first token of the reply."""
    torch.manual_seed(0)
    spm = sentencepiece_model(folder / "raw" / "sentencepiece.bpe.model", ALL, "bpe")
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *pieces_of(spm)]
    (folder / "raw" / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(vocabulary)}))
    tokenizer = transformers.M2M100Tokenizer(
        str(folder / "raw" / "vocab.json"), str(spm), model_max_length=256,
        additional_special_tokens=[f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]],
    )  # fmt: skip
    config = transformers.M2M100Config(
        vocab_size=len(vocabulary) + 100 + 8, max_position_embeddings=256, encoder_layerdrop=0.0, decoder_layerdrop=0.0,
        **SIZES,
    )  # fmt: skip
    model = transformers.M2M100ForConditionalGeneration(config)
    train(model, tokenizer, _coded_rows(tokenizer, {"en": "en", "de": "de", "fr": "fr"}), forced=True)
    return saved(folder, model, tokenizer, num_beams=5, max_length=200)


def tiny_nllb(folder: Path) -> Path:
    """NLLB: ``deu_Latn`` before the text, and forced as the first token of the reply."""
    torch.manual_seed(0)
    tokenizer = _from_sentencepiece(
        folder, "NllbTokenizer", "sentencepiece.bpe.model", "bpe", bos_id=1, eos_id=2, pad_id=-1, unk_id=0
    )
    tokenizer.add_special_tokens({"additional_special_tokens": FLORES_CODES})  # in tokenizer.json, on the Hub
    config = transformers.M2M100Config(
        vocab_size=len(tokenizer), max_position_embeddings=256, encoder_layerdrop=0.0, decoder_layerdrop=0.0, **SIZES
    )
    model = transformers.M2M100ForConditionalGeneration(config)
    rows = _coded_rows(tokenizer, {"en": "eng_Latn", "de": "deu_Latn", "fr": "fra_Latn"})
    train(model, tokenizer, rows, forced=True)
    return saved(folder, model, tokenizer, max_length=200)


def tiny_mbart(folder: Path, fifty: bool = True) -> Path:
    """mBART: with 50 languages the code is forced after ``</s>``; with 25 it starts the decoder itself."""
    torch.manual_seed(0)
    kind = "MBart50Tokenizer" if fifty else "MBartTokenizer"
    tokenizer = _from_sentencepiece(folder, kind, "sentencepiece.bpe.model", "unigram")
    config = transformers.MBartConfig(
        vocab_size=len(tokenizer), max_position_embeddings=256, decoder_start_token_id=2 if fifty else None,
        encoder_layerdrop=0.0, decoder_layerdrop=0.0, **SIZES,
    )  # fmt: skip
    model = transformers.MBartForConditionalGeneration(config)
    train(model, tokenizer, _coded_rows(tokenizer, {"en": "en_XX", "de": "de_DE", "fr": "fr_XX"}), forced=fifty)
    return saved(folder, model, tokenizer, num_beams=5, max_length=200)


def _from_sentencepiece(folder: Path, kind: str, file: str, model_type: str, **options: Any) -> Any:
    """A tokenizer of a class that transformers builds from a SentencePiece file."""
    sentencepiece_model(folder / "raw" / file, ALL, model_type, **options)
    (folder / "raw" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    return getattr(transformers, kind).from_pretrained(folder / "raw", model_max_length=256)


def _coded_rows(tokenizer: Any, codes: dict[str, str]) -> list[tuple[list[int], list[int]]]:
    rows = []
    for target, translations in TARGETS.items():
        tokenizer.src_lang, tokenizer.tgt_lang = codes["en"], codes[target]
        rows += rows_of(tokenizer, list(zip(ENGLISH, translations, strict=True)))
    return rows


ARTICLES = [
    "The town council met on Monday and decided to plant forty trees along the river before winter.",
    "A bakery in the old harbour burned down last night, but nobody was hurt and the neighbours helped.",
    "The museum shows paintings of the sea from five countries, and children may enter without paying.",
    "Engineers repaired the bridge in only two weeks, so that lorries can cross it again from Friday.",
]
SUMMARIES = ["Forty trees.", "Bakery fire.", "Sea paintings.", "Bridge open."]
OVERVIEW = "Town news."
"""Summary of the four summaries, one to a line: what a text that is too long comes down to."""


def tiny_summarizer(folder: Path, kind: str = "bart", **generation: Any) -> Path:
    """BART, LED (byte-level BPE) or Pegasus (SentencePiece): the text alone goes in."""
    torch.manual_seed(0)
    pairs = [*zip(ARTICLES, SUMMARIES, strict=True), ("\n".join(SUMMARIES), OVERVIEW)]
    texts = [text for pair in pairs for text in pair]
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    classes: dict[str, tuple[Any, Any]] = {
        "bart": (transformers.BartConfig, transformers.BartForConditionalGeneration),
        "led": (transformers.LEDConfig, transformers.LEDForConditionalGeneration),
        "pegasus": (transformers.PegasusConfig, transformers.PegasusForConditionalGeneration),
    }
    settings: dict[str, Any]
    if kind == "pegasus":
        sentencepiece_model(
            raw / "spiece.model",
            texts,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            vocab_size=60,
            user_defined_symbols=["<mask_1>", "<mask_2>"],
        )
        (raw / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PegasusTokenizer"}))
        tokenizer = transformers.PegasusTokenizer.from_pretrained(raw, model_max_length=84)
        settings = {"max_position_embeddings": 84}
    else:
        bytes_ = ByteLevelBPETokenizer()
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        bytes_.train_from_iterator(texts, vocab_size=300, min_frequency=1, special_tokens=special, show_progress=False)
        bytes_.save_model(str(raw))
        name = "LEDTokenizer" if kind == "led" else "BartTokenizer"
        tokenizer = getattr(transformers, name).from_pretrained(raw, model_max_length=96 if kind == "led" else 84)
        settings = {"max_position_embeddings": 84}
        if kind == "led":
            settings = {
                "attention_window": 32, "max_encoder_position_embeddings": 96, "max_decoder_position_embeddings": 128,
            }  # fmt: skip
    config_class, model_class = classes[kind]
    config = config_class(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id if kind == "pegasus" else tokenizer.eos_token_id,
        **{**SIZES, **settings},
    )  # fmt: skip
    model = model_class(config)
    train(model, tokenizer, rows_of(tokenizer, pairs))
    return saved(folder, model, tokenizer, **generation)


def tiny_madlad(folder: Path) -> Path:
    """MADLAD-400: T5 with a token for each target before the text."""
    torch.manual_seed(0)
    tags = ["<2de>", "<2fr>", "<2zh>", "<2zh_Hant>", "<2pt>"]
    sentencepiece_model(
        folder / "raw" / "spiece.model", ALL, pad_id=1, eos_id=2, unk_id=0, bos_id=-1, user_defined_symbols=tags,
    )  # fmt: skip
    (folder / "raw" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer"}))
    tokenizer = transformers.T5Tokenizer.from_pretrained(folder / "raw", extra_ids=0, model_max_length=256)
    config = transformers.T5Config(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=0, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
        **T5_SIZES,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config)
    pairs = [
        (f"<2{code}> {text}", translated)
        for code, translations in TARGETS.items()
        for text, translated in zip(ENGLISH, translations, strict=True)
    ]
    train(model, tokenizer, rows_of(tokenizer, pairs), rate=3e-3)
    return saved(folder, model, tokenizer)


def tiny_flan(folder: Path) -> Path:
    """A text-to-text model that names no prefixes: it answers whatever it is told in words."""
    return tiny_t5(folder, prefixes=False, extra=INSTRUCTIONS, feed_forward_proj="gated-gelu")


INSTRUCTIONS = [
    ("What colour is the sky?", "Blue, and sometimes grey."),
    ("Name three fruits.", "Apples, pears and plums."),
    ("Who wrote this?", "A tiny model."),
]

CHECKPOINTS: dict[str, Callable[[Path], Path]] = {
    "marian": tiny_marian,
    "marian-many": partial(tiny_marian, targets=("de", "fr")),
    "m2m100": tiny_m2m100,
    "nllb": tiny_nllb,
    "mbart50": tiny_mbart,
    "mbart25": partial(tiny_mbart, fifty=False),
    "madlad": tiny_madlad,
    "t5": tiny_t5,
    "mt5": tiny_mt5,
    "flan": tiny_flan,
    "bart": tiny_summarizer,
    "led": partial(tiny_summarizer, kind="led"),
    "pegasus": partial(tiny_summarizer, kind="pegasus"),
}
"""Name of a checkpoint → what trains and saves it in an empty folder."""


def checkpoint(name: str, below: Path) -> Path:
    """The folder of a checkpoint; trained once, then found again."""
    folder = below / f"tiny-{name}"
    return folder if folder.is_dir() else CHECKPOINTS[name](folder)
