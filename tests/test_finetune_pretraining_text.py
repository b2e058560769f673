"""From text to tokens: rhymes, documents and their account, the tokenizer, blocks on disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.data.config import Source
from finetune.data.progress import RowProgress
from finetune.data.sources import open_sources
from finetune.pretraining import documents as collecting
from finetune.pretraining.blocks import Blocks, write_blocks
from finetune.pretraining.documents import collect, documents, read_accounts
from finetune.pretraining.origins import chat_sources, text_sources
from finetune.pretraining.recipe import DocumentsConfig, DocumentSource
from finetune.pretraining.rhymes import rhymes
from finetune.pretraining.tokenizer import END_OF_TEXT, train_tokenizer
from pipelines.errors import CinquainError, InputError
from tests.doubles.pretraining import small_recipe

QUIET = RowProgress(quiet=True)


def collected(folder: Path, texts: list[Any], **config: Any) -> list[collecting.Account]:
    """The accounts of documents with these texts."""
    path = folder.parent / f"{folder.name}.jsonl"
    path.write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts), "utf-8")
    described = DocumentSource(path=str(path))
    (opened,) = open_sources([Source(path=str(path), name="rows")])
    return collect(DocumentsConfig(sources=[described], **config), [(described, opened)], folder, QUIET)


def test_rhymes_are_the_same_for_a_seed_and_count_as_they_say() -> None:
    first, again, other = (list(rhymes(200, seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert len({row["text"] for row in first}) == 200
    for row in first:
        assert row["brief"].endswith(".")
        assert len(row["text"].splitlines()) >= 3
    up = next(row for row in first if "counts up" in row["brief"])
    numbers = [line.split()[0].lower() for line in up["text"].splitlines()]
    order = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    assert numbers == order[order.index(numbers[0]) :][: len(numbers)]


def test_every_document_is_accounted_for(tmp_path: Path) -> None:
    texts = [*(f"The {number}th text is a text of its own." for number in range(60)), "short", 7,
             "The 3th text is a text of its own.\r\n", "Write to Ann at ann@example.org, please, today."]  # fmt: skip
    (account,) = collected(tmp_path / "out", texts, held_out=0.2)
    assert account.read == 64
    assert account.dropped == {"too_short": 1, "no_text": 1, "duplicate": 1}
    assert account.train + account.held_out == 61
    assert account.held_out > 2
    assert account.changed["email"] == 1
    kept = [text for part in ("train", "held_out") for text in documents(tmp_path / "out", part)]
    assert len(kept) == len(set(kept)) == 61
    assert "Write to Ann at <EMAIL>, please, today." in kept
    assert account.characters == sum(map(len, kept))
    assert not set(documents(tmp_path / "out", "train")) & set(documents(tmp_path / "out", "held_out"))


def test_more_documents_move_none_of_the_earlier_ones(tmp_path: Path) -> None:
    texts = [f"Document number {number} says so." for number in range(80)]
    for name, some in (("few", texts[:40]), ("more", texts)):
        collected(tmp_path / name, some)
    few, more = (set(documents(tmp_path / name, "held_out")) for name in ("few", "more"))
    assert few == more & set(texts[:40])


def test_nothing_held_out_and_nothing_left_are_said_with_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        collected(tmp_path / "one", ["a single document that is long enough"], held_out=1e-9)
    assert caught.value.code == "pretrain_nothing_held_out"
    with pytest.raises(InputError, match="too_short: 2"):
        collected(tmp_path / "two", ["a", "b"])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 30), min_size=25, max_size=60), st.integers(60, 400), st.integers(1, 5))
def test_collecting_goes_on_behind_any_shard(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, picks: list[int], size: int, kept: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    monkeypatch.setattr(collecting, "SHARD_CHARACTERS", size)
    texts = [f"This is the document with the number {pick} in it." for pick in [*range(40), *picks]]
    whole = collected(folder / "whole", texts, held_out=0.4)
    collected(folder / "torn", texts, held_out=0.4)
    # What a kill after some shards leaves: the last one without its account, and nothing behind it.
    for path in sorted((folder / "torn").glob("0*")):
        if int(path.stem) >= kept and not (int(path.stem) == kept and path.suffix == ".jsonl"):
            path.unlink()
    (folder / "torn" / "documents.json").unlink()
    again = collected(folder / "torn", texts, held_out=0.4)
    assert again == whole
    contents = [{path.name: path.read_bytes() for path in (folder / name).iterdir()} for name in ("whole", "torn")]
    assert contents[0] == contents[1]


def test_plain_text_is_cut_between_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "book.md"
    path.write_text("\n\n".join(f"Paragraph {number}. " + "word " * 100 for number in range(40)), "utf-8")
    described = DocumentSource(path=str(path))
    (opened,) = open_sources([Source(path=str(path))])
    (account,) = collect(
        DocumentsConfig(sources=[described], held_out=0.5), [(described, opened)], tmp_path / "out", QUIET
    )
    assert account.read == 5
    texts = [text for part in ("train", "held_out") for text in documents(tmp_path / "out", part)]
    assert all(text.startswith("Paragraph ") for text in texts)
    assert sum(text.count("Paragraph") for text in texts) == 40


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("prepared")
    collected(folder / "documents", [row["text"] for row in rhymes(150)], held_out=0.2)
    return folder, train_tokenizer(folder / "documents", folder / "tokenizer", 400, 10**9, 128, ["你好，世界。"])


@given(text=st.text(max_size=60))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_tokenizer_gives_every_text_back(prepared: tuple[Path, Any], text: str) -> None:
    tokenizer = prepared[1]
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_the_tokenizer_is_made_once_and_knows_turns(prepared: tuple[Path, Any]) -> None:
    folder, tokenizer = prepared
    before = (folder / "tokenizer" / "tokenizer.json").stat().st_mtime_ns
    again = train_tokenizer(folder / "documents", folder / "tokenizer", 999, 10**9, 128, [])
    assert len(again) == len(tokenizer) <= 400
    assert (folder / "tokenizer" / "tokenizer.json").stat().st_mtime_ns == before
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == (
        "<|user|>Hi<|end_of_turn|><|assistant|>Ho<|end_of_turn|>"
    )
    assert tokenizer.eos_token == "<|end_of_turn|>"


def test_blocks_are_the_documents_and_each_token_has_a_next_one(prepared: tuple[Path, Any], tmp_path: Path) -> None:
    folder, tokenizer = prepared
    end = tokenizer.bos_token_id
    blocks = write_blocks(folder / "documents", "train", tokenizer.backend_tokenizer, end, tmp_path, 16)
    texts = list(documents(folder / "documents", "train"))
    assert tokenizer.decode(blocks.tokens.tolist()).split(END_OF_TEXT) == [*texts, ""]
    assert blocks.tokens.dtype == np.uint16
    assert blocks.text_bytes == sum(len(text.encode()) for text in texts)
    first, second = blocks[[0, 1]]
    assert first[-1] == second[0]
    assert np.array_equal(blocks[[len(blocks) - 1]][0], blocks.tokens[(len(blocks) - 1) * 16 :][:17])


def test_a_torn_file_of_tokens_is_written_on_and_a_changed_one_is_refused(
    prepared: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "SHARD_CHARACTERS", 3_000)
    _, tokenizer = prepared
    texts = [row["text"] for row in rhymes(150)]
    collected(tmp_path / "documents", texts, held_out=0.2)
    inner, end = tokenizer.backend_tokenizer, tokenizer.bos_token_id
    whole = write_blocks(tmp_path / "documents", "train", inner, end, tmp_path / "whole", 16)
    torn = tmp_path / "torn"
    torn.mkdir()
    first = sum(len(inner.encode(text).ids) + 1 for text in documents(tmp_path / "documents", "train", 0))
    size = sum(len(text.encode()) for text in documents(tmp_path / "documents", "train", 0))
    count = len(list(documents(tmp_path / "documents", "train", 0)))
    state = {"shards": 1, "bytes": 2 * first, "text_bytes": size, "documents": count}
    (torn / "train.state.json").write_text(json.dumps(state))
    (torn / "train.bin").write_bytes(whole.tokens[:first].tobytes() + b"half a sh")
    again = write_blocks(tmp_path / "documents", "train", inner, end, torn, 16)
    assert (again.sha256, again.text_bytes) == (whole.sha256, whole.text_bytes)
    with (torn / "train.bin").open("r+b") as file:
        file.write(b"xx")
    with pytest.raises(CinquainError) as caught:
        Blocks.open(torn, "train", 16)
    assert caught.value.code == "blocks_broken"


def test_too_little_text_is_said(prepared: tuple[Path, Any], tmp_path: Path) -> None:
    folder, tokenizer = prepared
    with pytest.raises(CinquainError, match="fewer than one block of 10000000"):
        write_blocks(folder / "documents", "train", tokenizer.backend_tokenizer, 0, tmp_path, 10_000_000)


def test_where_a_set_cannot_be_had_rhymes_are_taken_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CINQUAIN_OFFLINE", "1")
    source = {"path": "public:shakespeare", "otherwise": "rhymes:40", "group": "doc"}
    recipe = small_recipe(tmp_path / "out", documents__sources=[source])
    progress = RowProgress()
    ((_, found),) = text_sources(recipe, tmp_path / "sources", progress)
    told = capsys.readouterr().err
    assert "CINQUAIN_OFFLINE forbids it" in told
    assert "rhymes:40 is taken instead" in told
    assert len(Path(found.path).read_text("utf-8").splitlines()) == 40
    (chats,) = chat_sources(recipe, tmp_path / "sources", progress)["creative_writing"]
    assert all(len(json.loads(line)["text"]) > 40 for line in Path(chats.path).read_text("utf-8").splitlines())
    monkeypatch.delenv("CINQUAIN_OFFLINE")  # the network is back: the run keeps to what it began with
    assert text_sources(recipe, tmp_path / "sources", progress)[0][1] == found
    monkeypatch.setenv("CINQUAIN_OFFLINE", "1")
    alone = small_recipe(tmp_path / "out", documents__sources=[{"path": "public:shakespeare"}])
    with pytest.raises(CinquainError):
        text_sources(alone, tmp_path / "none", progress)


def test_accounts_are_read_again(tmp_path: Path) -> None:
    assert read_accounts(tmp_path) == []
    accounts = collected(tmp_path / "out", [f"Text number {number} is here." for number in range(60)])
    assert read_accounts(tmp_path / "out") == accounts
