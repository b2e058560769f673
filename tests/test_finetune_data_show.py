"""A row is shown as it is trained: the tokens that the engine sends, then the reply's, and which of them carry loss."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data import Source
from finetune.data.prepare import prepare
from finetune.data.rendering import Renderer, training_prompt
from finetune.data.results import finished
from finetune.data.row import Row
from finetune.data.show import ShownRow, pieces, prepared_row, raw_row, survey, visible
from pipelines import DEFAULT_MODEL, TASKS
from pipelines.errors import InputError
from pipelines.requests import validate
from tests.doubles.data_rows import configured, counting_model, lines_of, plain_rows, planted, write_lines
from tests.doubles.tiny import tiny_tokenizer
from tests.doubles.tiny_seq2seq import checkpoint

TOKENIZER = tiny_tokenizer(["the quick brown fox", "Guten Morgen, 天气很好。"])

TURNS = [
    {"role": "user", "content": "Hello."},
    {"role": "assistant", "content": "Hi! How are you?"},
    {"role": "user", "content": "Well. 再见"},
]
REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "translation": ({"text": "Good morning. 🙂", "source": "en", "target": "fr"}, "Bonjour. 🙂"),
    "summarization": ({"text": "A long text about rivers.", "length": "sentence"}, "Rivers."),
    "dialogue": ({"messages": TURNS}, "再见！"),
    "code_generation": ({"instruction": "Add two numbers.", "language": "python"}, "def add(a, b):\n    return a + b"),
    "creative_writing": ({"brief": "rain", "form": "haiku"}, "Rain on the window\n  a  letter"),
}


def row_of(task: str) -> Row:
    request, reply = REQUESTS[task]
    return Row("rows.jsonl:1", request, reply, "g", "rows.jsonl")


@pytest.mark.model
@pytest.mark.parametrize("task", REQUESTS)
def test_the_tokens_are_those_that_the_engine_sends_and_the_reply(task: str, engine: Any) -> None:
    row = row_of(task)
    shown = ShownRow.of("train", 1, row, Renderer.load(DEFAULT_MODEL, task))
    definition = TASKS[task]()
    request = validate(definition.request_type, row.request, task)
    sent = engine.format.tokens(definition.messages(request, training_prompt(task)))
    ids = [token for piece in shown.tokens for token in piece.ids]
    assert ids[: len(sent)] == sent
    assert ids[len(sent) :] == [*engine.tokenizer(row.reply).input_ids, engine.tokenizer.eos_token_id]
    learned = "".join(piece.text for piece in shown.tokens if piece.loss)
    end = "<|im_end|>"
    earlier = f"{TURNS[1]['content']}{end}" if task == "dialogue" else ""
    assert learned == f"{earlier}{row.reply}{end}"
    assert [piece.loss for piece in shown.tokens for _ in piece.ids] == shown.rendered.labels
    assert "".join(piece.text for piece in shown.tokens) == engine.tokenizer.decode(ids)
    assert (shown.encoder, shown.over) == (None, None)
    assert json.loads(json.dumps(shown.to_json()))["trained"] == sum(shown.rendered.labels)


@pytest.mark.parametrize(
    "name", ["marian", *(pytest.param(name, marks=pytest.mark.slow) for name in ("t5", "nllb"))]
)  # each is trained for this
def test_of_an_encoder_decoder_model_both_sides_are_shown(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = checkpoint(name, tmp_path_factory.getbasetemp())
    row = Row("x:1", {"text": "The cat sleeps.", "source": "en", "target": "de"}, "Die Katze schläft.", "g", "x")
    shown = ShownRow.of("", 1, row, Renderer.load(str(folder), "translation"))
    assert shown.encoder is not None
    assert [token for piece in shown.encoder for token in piece.ids] == shown.rendered.encoder
    assert not any(piece.loss for piece in shown.encoder)
    read = "".join(piece.text for piece in shown.encoder)
    assert "cat sleeps." in read.replace("▁", " ")
    learned = "".join(piece.text for piece in shown.tokens if piece.loss)
    assert "Katze" in learned
    assert learned.endswith("</s>")


@given(st.lists(st.tuples(st.text(max_size=12), st.booleans()), max_size=8))
def test_pieces_are_all_tokens_once_and_whole_characters(parts: list[tuple[str, bool]]) -> None:
    ids: list[int] = []
    labels: list[bool] = []
    for text, loss in parts:
        tokens = TOKENIZER(text.encode("utf-8", "replace").decode(), add_special_tokens=False).input_ids
        ids += [*tokens, TOKENIZER.eos_token_id]
        labels += [loss] * (len(tokens) + 1)
    found = pieces(TOKENIZER, ids, labels)
    assert [token for piece in found for token in piece.ids] == ids
    assert [piece.loss for piece in found for _ in piece.ids] == labels
    assert all(piece.text for piece in found)
    whole = TOKENIZER.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert "".join(piece.text for piece in found) == whole


def test_half_a_character_is_shown_as_far_as_it_goes() -> None:
    ids = TOKENIZER("好", add_special_tokens=False).input_ids
    ids = ids if len(ids) > 1 else TOKENIZER("龘", add_special_tokens=False).input_ids
    assert len(ids) > 1
    (piece,) = pieces(TOKENIZER, ids[:-1], [True] * (len(ids) - 1))
    assert "\ufffd" in piece.text
    first, second = pieces(TOKENIZER, ids, [False] * (len(ids) - 1) + [True])  # loss parts what a character joins
    assert [*first.ids, *second.ids] == ids


@given(st.text())
def test_nothing_invisible_is_left(text: str) -> None:
    shown = visible(text)
    assert not any(ord(character) < 32 and character not in "\n\t" for character in shown)
    assert not set(shown) & set("\x7f\x9b\u202e\u2066\u200b\ufeff\u2028\ud800")
    assert visible("a\x1b[31mb\u202ec\U000e0001") == r"a\x1b[31mb\u202ec\U000e0001"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The model, a raw file and what was prepared of it."""
    folder = tmp_path_factory.mktemp("shown")
    model = counting_model(folder / "model")
    path = write_lines(folder / "rows.jsonl", planted())
    prepare(configured(model, path), folder / "out")
    return model, path, folder / "out"


def test_rows_are_found_by_place_and_by_id(result: tuple[Path, Path, Path]) -> None:
    _, _, out = result
    ledger = finished(out)
    assert ledger is not None
    train, validation = lines_of(out / "train.jsonl"), lines_of(out / "validation.jsonl")
    assert prepared_row(out, ledger, "1") == ("train", 1, Row(**train[0]))
    assert prepared_row(out, ledger, str(len(train)))[2].id == train[-1]["id"]
    assert prepared_row(out, ledger, "2", "validation")[2].id == validation[1]["id"]
    assert prepared_row(out, ledger, validation[1]["id"]) == ("validation", 2, Row(**validation[1]))
    for which, part, code in [
        ("0", None, "data_show_number"),
        ("-1", None, "data_show_number"),
        (str(len(train) + 1), "train", "data_show_number"),
        ("1", "test", "data_show_part"),
        ("1", "nothing", "data_show_part"),
        ("rows.jsonl:999", None, "data_show_id"),
        ("rows.jsonl:42", None, "data_show_rejected"),
    ]:
        with pytest.raises(InputError) as caught:
            prepared_row(out, ledger, which, part)
        assert caught.value.code == code
        assert "\n" not in str(caught.value)


def test_a_result_without_rows_has_none_to_show(result: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, _, _ = result
    path = write_lines(tmp_path / "rows.jsonl", plain_rows(2))
    ledger = prepare(configured(model, Source(path=str(path), weight=0.0001)), tmp_path / "out")
    assert ledger.kept == 0
    with pytest.raises(InputError, match="no rows in 'train'"):
        prepared_row(tmp_path / "out", ledger, "1")


def test_a_part_that_was_changed_by_hand_is_one_sentence(result: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, _, out = result
    ledger = finished(out)
    assert ledger is not None
    for line in ('{"id": 1, "request": {}, "reply": 5, "group": "", "source": ""}', "{}", "\x00"):
        (tmp_path / "train.jsonl").write_text(line)
        with pytest.raises(InputError) as caught:
            prepared_row(tmp_path, ledger, "1")
        assert caught.value.code == "data_row_format"
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(InputError) as caught:
        prepared_row(tmp_path, ledger, "1")
    assert caught.value.code == "data_unreadable"


def test_rows_of_a_raw_file_are_found_by_line(result: tuple[Path, Path, Path]) -> None:
    _, path, _ = result
    source = Source(path=str(path))
    number, row = raw_row(source, "summarization", "9")
    assert (number, row.id, row.reply) == (9, "rows.jsonl:9", json.loads(path.read_bytes().splitlines()[8])["summary"])
    assert raw_row(source, "summarization", "rows.jsonl:9") == (number, row)
    for which, word in [("8", "not_json"), ("91", "columns"), ("151", "150 records"), ("x", "150 records")]:
        with pytest.raises(InputError, match=word):
            raw_row(source, "summarization", which)
    with pytest.raises(InputError, match="Did you mean: text"):
        raw_row(Source(path=str(path), columns={"txt": "a"}), "summarization", "1")


def test_a_survey_counts_what_a_ledger_counts(result: tuple[Path, Path, Path]) -> None:
    model, path, _ = result
    renderer = Renderer.load(str(model), "summarization")
    found = survey(Source(path=str(path)), "summarization", renderer, 1000)
    assert (found.read, found.whole, found.rows) == (150, True, 145)
    assert found.dropped == {"not_json": 1, "not_object": 1, "not_unicode": 1, "columns": 1, "invalid": 1}
    assert sum(found.lengths.values()) == sum(found.languages.values()) == found.rows
    first = survey(Source(path=str(path)), "summarization", renderer, 150)
    assert first.to_json() == found.to_json()
    part = survey(Source(path=str(path)), "summarization", renderer, 20)
    assert (part.read, part.whole, part.rows) == (20, False, 19)


def test_the_lengths_of_clean_rows_are_those_of_their_ledger(result: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, _, _ = result
    rows = plain_rows(40)
    rows[3]["text"] *= 60
    path = write_lines(tmp_path / "rows.jsonl", rows)
    config = configured(model, path, lengths=None, language=False, personal_data="keep", too_long="drop")
    ledger = prepare(config, tmp_path / "out")
    found = survey(Source(path=str(path)), "summarization", Renderer.load(str(model), "summarization"), 100).to_json()
    assert found["over_long"] == ledger.tokens["over_long"] == 1
    kept = {size: count for size, count in found["lengths"].items() if int(size) <= 2048}
    assert kept == ledger.lengths
