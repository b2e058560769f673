"""Text in, blocks of tokens out: what is done before a model learns, by one process."""

import json
from dataclasses import asdict

from finetune.data.sources import open_sources
from finetune.pretraining.blocks import write_blocks
from finetune.pretraining.chats import chat_texts
from finetune.pretraining.documents import Account, collect
from finetune.pretraining.origins import chat_sources, text_sources
from finetune.pretraining.progress import PretrainProgress
from finetune.pretraining.recipe import PretrainRecipe
from finetune.pretraining.result import ModelFolder
from finetune.pretraining.tokenizer import train_tokenizer
from pipelines.home import write_atomically

__all__ = ["prepare_text"]


def prepare_text(recipe: PretrainRecipe, folder: ModelFolder, progress: PretrainProgress) -> None:
    """Collect documents, train the tokenizer and write the blocks, as far as they are not there.

    Args:
        recipe: The recipe.
        folder: Folder of the run.
        progress: Says what goes on.

    Raises:
        InputError: A source cannot be used, or no document is left.
        CinquainError: The disk is full, or the text is less than a block.
    """
    work, length = folder.work, recipe.blocks.length
    sources = text_sources(recipe, work / "sources", progress)
    opened = open_sources([source for _, source in sources])
    accounts = collect(
        recipe.documents,
        [(described, one) for (described, _), one in zip(sources, opened, strict=True)],
        work / "documents",
        progress,
    )
    _write_account(folder, accounts)
    progress.say(
        "pretrain_collected",
        train=sum(each.train for each in accounts),
        held_out=sum(each.held_out for each in accounts),
        dropped=sum(sum(each.dropped.values()) for each in accounts),
        characters=f"{sum(each.characters for each in accounts):,}",
    )
    progress.say("pretrain_tokenizer", vocabulary=recipe.tokenizer.vocabulary)
    extra = chat_texts(chat_sources(recipe, work / "sources", progress)) if recipe.chat else []
    tokenizer = train_tokenizer(
        work / "documents",
        work / "tokenizer",
        recipe.tokenizer.vocabulary,
        recipe.tokenizer.sample_characters,
        length,
        extra,
    )
    progress.say("pretrain_blocks")
    for part in ("train", "held_out"):
        inner, end = tokenizer.backend_tokenizer, tokenizer.bos_token_id
        blocks = write_blocks(work / "documents", part, inner, end, work / "blocks", length)
        if part == "train":
            progress.say(
                "pretrain_blocks_ready",
                blocks=len(blocks),
                tokens=f"{len(blocks.tokens):,}",
                ratio=f"{blocks.bytes_per_token:.2f}",
            )


def _write_account(folder: ModelFolder, accounts: list[Account]) -> None:
    content = {"schema_version": 1, "sources": list(map(asdict, accounts))}
    write_atomically(folder.documents, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
