"""Rows of encoder–decoder models: what the encoder reads and the decoder starts with is what the engine gives them.

The checkpoints have the real tokenizer classes and were never trained: nothing here asks what they say.
"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.data.rendering import Renderer, training_prompt
from finetune.data.rendering_seq2seq import Seq2SeqRenderer
from finetune.data.row import Row
from pipelines import Pipeline
from pipelines.errors import InputError
from pipelines.tasks import TASKS
from tests.doubles import tiny_seq2seq
from tests.doubles.seq2seq_calls import load
from tests.doubles.seq2seq_training import ENGLISH, TARGETS
from tests.doubles.tiny_seq2seq import ARTICLES, SUMMARIES, checkpoint

TRANSLATORS = ("marian", "marian-many", "m2m100", "nllb", "mbart50", "mbart25", "madlad", "t5")
SUMMARIZERS = ("bart", "led", "pegasus")
CODES = {
    "m2m100": ("en", "de"), "nllb": ("eng_Latn", "deu_Latn"), "mbart50": ("en_XX", "de_DE"),
    "mbart25": ("en_XX", "de_DE"),
}  # fmt: skip
WRITTEN = {"marian-many": ">>deu<< ", "madlad": "<2de> ", "t5": "translate English to German: "}


class Checkpoints:
    """Folders and renderers, each made once."""

    def __init__(self, below: Path) -> None:
        self._below = below
        self._renderers: dict[tuple[str, str], Seq2SeqRenderer] = {}

    def folder(self, name: str) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tiny_seq2seq, "train", lambda *_arguments, **_options: None)
            return checkpoint(name, self._below)

    def renderer(self, name: str, task: str) -> Seq2SeqRenderer:
        if (name, task) not in self._renderers:
            renderer = Renderer.load(str(self.folder(name)), task)
            assert isinstance(renderer, Seq2SeqRenderer)
            self._renderers[name, task] = renderer
        return self._renderers[name, task]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    return Checkpoints(tmp_path_factory.mktemp("untrained"))  # not where tests look for trained ones


def translation(text: str = ENGLISH[1], reply: str = TARGETS["de"][1], target: str = "de") -> Row:
    return Row("rows:1", {"text": text, "source": "en", "target": target}, reply, "g", "rows")


def summary() -> Row:
    return Row("rows:1", {"text": ARTICLES[0], "length": "sentence"}, SUMMARIES[0], "g", "rows")


def given_to_the_model(folder: Path, task: str, request: dict[str, Any]) -> tuple[list[int], list[int]]:
    """What the encoder and the decoder are given when a pipeline answers a request."""
    engine = load(folder, device="cpu")
    given: list[tuple[list[int], list[int]]] = []
    generate = engine.model.generate

    def spy(**inputs: Any) -> Any:
        read = inputs["input_ids"][0][inputs["attention_mask"][0].bool()]  # LED pads to its window
        given.append((read.tolist(), inputs["decoder_input_ids"][0].tolist()))
        return generate(**inputs)

    engine.model.generate = spy
    Pipeline(TASKS[task](), engine, training_prompt(task))(**request, max_new_tokens=2)
    engine.close()
    return given[0]


CASES = [
    *((name, "translation") for name in (*TRANSLATORS, "flan")),
    *((name, "summarization") for name in SUMMARIZERS),
]


@pytest.mark.parametrize(("name", "task"), CASES)
def test_both_sides_begin_as_they_do_in_serving(name: str, task: str, checkpoints: Checkpoints) -> None:
    row = translation() if task == "translation" else summary()
    rendered = checkpoints.renderer(name, task).render(row)
    encoder, start = given_to_the_model(checkpoints.folder(name), task, row.request)
    assert rendered.encoder == encoder
    assert rendered.tokens[: len(start)] == start
    assert rendered.labels == [False] * len(start) + [True] * (len(rendered.tokens) - len(start))
    assert rendered.total == len(rendered.tokens) + len(encoder)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_the_decoder_learns_what_transformers_own_labels_teach(name: str, task: str, checkpoints: Checkpoints) -> None:
    """Labels by ``text_target``, shifted as the model's own training shifts them."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    row = translation() if task == "translation" else summary()
    rendered = checkpoints.renderer(name, task).render(row)
    tokenizer = AutoTokenizer.from_pretrained(checkpoints.folder(name))
    model = AutoModelForSeq2SeqLM.from_pretrained(checkpoints.folder(name))
    if name in CODES:
        tokenizer.src_lang, tokenizer.tgt_lang = CODES[name]
    labels = tokenizer(text_target=row.reply, return_tensors="pt")["input_ids"]
    taught = labels[0].tolist()
    if name in ("m2m100", "nllb"):
        shifted = [model.config.decoder_start_token_id, *taught[:-1]]
    else:
        shifted = model.prepare_decoder_input_ids_from_labels(labels)[0].tolist()
    if name == "mbart25":  # its labels end with the language, which training of transformers moves to the front
        taught, shifted = taught[:-1], shifted[:-1]
    assert rendered.tokens[:-1] == shifted
    trained = [token for token, label in zip(rendered.tokens, rendered.labels, strict=True) if label]
    # A language that serving forces is not learned; all else is.
    forced = len(taught) - len(trained)
    assert taught[forced:] == trained
    assert forced == (1 if name in ("m2m100", "nllb", "mbart50") else 0)
    if name != "flan":
        text = WRITTEN.get(name, "") + row.request["text"]
        assert rendered.encoder == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("name", TRANSLATORS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(words=st.lists(st.sampled_from(" ".join(TARGETS["de"]).split()), min_size=1, max_size=12))
def test_the_labelled_tokens_are_the_reply_and_its_end(name: str, words: list[str], checkpoints: Checkpoints) -> None:
    renderer = checkpoints.renderer(name, "translation")
    rendered = renderer.render(translation(reply=" ".join(words)))
    trained = [token for token, label in zip(rendered.tokens, rendered.labels, strict=True) if label]
    assert trained[-1] == rendered.tokens[-1] == renderer.tokenizer.eos_token_id
    assert len(trained) > 1
    text = renderer.tokenizer.decode(trained, skip_special_tokens=True)
    assert text.strip() == " ".join(words)


def test_a_reply_that_the_model_has_no_tokens_for_is_refused(checkpoints: Checkpoints) -> None:
    with pytest.raises(InputError) as caught:
        checkpoints.renderer("marian", "translation").render(translation(reply="今天天气很好。"))
    assert caught.value.code == "reply_unwritable"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("marian", "a</s>b"), ("marian-many", ">>fra<< a"), ("m2m100", "__fr__ a"), ("nllb", "fra_Latn"),
        ("mbart50", "fr_XX"), ("madlad", "<2fr> a"), ("t5", "<pad>"), ("bart", "<mask>"),
    ],
)  # fmt: skip
def test_a_text_that_forges_a_language_or_an_end_is_refused(name: str, text: str, checkpoints: Checkpoints) -> None:
    task = "summarization" if name == "bart" else "translation"
    with pytest.raises(InputError) as caught:
        checkpoints.renderer(name, task).render(
            translation(text) if name != "bart" else Row("1", {"text": text}, "a", "", "")
        )
    assert caught.value.code == "template_marker"


def test_a_language_or_a_task_that_the_model_lacks_is_refused(checkpoints: Checkpoints) -> None:
    with pytest.raises(InputError):
        checkpoints.renderer("marian", "translation").render(translation(target="zh"))
    with pytest.raises(InputError):
        Renderer.load(str(checkpoints.folder("marian")), "dialogue")


def test_line_breaks_that_the_tokenizer_cannot_write_are_remarked(checkpoints: Checkpoints) -> None:
    reply = f"{TARGETS['de'][1]}\n{TARGETS['de'][2]}"
    assert checkpoints.renderer("t5", "translation").render(translation(reply=reply)).remarks == ("line_breaks_lost",)
    assert checkpoints.renderer("t5", "translation").render(translation()).remarks == ()
    row = Row("rows:1", {"text": ARTICLES[0]}, "\n".join(SUMMARIES), "g", "rows")
    assert checkpoints.renderer("bart", "summarization").render(row).remarks == ()  # bytes


def test_each_side_has_its_own_limit(checkpoints: Checkpoints) -> None:
    renderer = checkpoints.renderer("led", "summarization")
    limits = renderer.reader.limits
    assert (limits.encoder, limits.decoder, renderer.context) == (96, 128, 128)
    rendered = renderer.render(summary())
    assert rendered.encoder is not None
    assert renderer.over(rendered) is None
    assert renderer.over(rendered, 3) == (len(rendered.encoder), 3)
    long = renderer.render(Row("rows:1", {"text": " ".join(ARTICLES * 3)}, "x", "g", "rows"))
    assert long.encoder is not None
    assert renderer.over(long) == (len(long.encoder), 96)
    assert renderer.over(long, 1000) == (len(long.encoder), 96)  # its positions end there
    wordy = renderer.render(Row("rows:1", {"text": "a"}, "trees " * 70, "g", "rows"))
    assert renderer.over(wordy) == (len(wordy.tokens) - 1, 128)
