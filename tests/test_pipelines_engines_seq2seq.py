"""Every family of encoder–decoder models, end to end: a tiny checkpoint with the family's own tokenizer, trained until
it knows a dozen sentences by heart, gives exactly these through ``pipeline``.
"""

import threading
from pathlib import Path
from typing import Any

import pytest

from pipelines import TASKS, InputError, Pipeline, pipeline
from pipelines.engines.seq2seq.engine import Seq2SeqEngine
from tests.doubles.fake_hub import FakeHub, use_hub
from tests.doubles.seq2seq_training import ENGLISH, TARGETS
from tests.doubles.tiny_seq2seq import ARTICLES, OVERVIEW, SUMMARIES, checkpoint

TRANSLATORS = {
    "marian": ("de",), "marian-many": ("de", "fr"), "m2m100": ("de", "fr"), "nllb": ("de", "fr"),
    "mbart50": ("de", "fr"), "mbart25": ("de", "fr"), "madlad": ("de", "fr"), "t5": ("de", "fr"),
    "mt5": ("de", "fr"),
}  # fmt: skip
PAIRS = [(name, target) for name, targets in TRANSLATORS.items() for target in targets]
SUMMARIZERS = ("bart", "led", "pegasus")


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``load(checkpoint, task)``: a pipeline in float32, where batched rows give the numbers of single ones."""
    pipelines: dict[tuple[str, str], Pipeline] = {}

    def loaded(name: str, task: str = "translation") -> Pipeline:
        if (name, task) not in pipelines:
            folder = checkpoint(name, tmp_path_factory.getbasetemp())
            pipelines[name, task] = pipeline(task, model=str(folder), dtype="float32")
        return pipelines[name, task]

    return loaded


@pytest.mark.parametrize(("name", "target"), PAIRS)
def test_a_batch_gives_the_learned_translations_in_order(load, name, target):
    translate = load(name)
    seen: list[tuple[int, int]] = []
    requests = [{"text": text, "source": "en", "target": target} for text in ENGLISH]
    results = translate.batch(requests, on_progress=lambda done, known: seen.append((done, known)))
    assert [result.text for result in results] == TARGETS[target]
    assert [result.finish_reason for result in results] == ["stop"] * len(ENGLISH)
    assert not [note for result in results for note in result.notes]
    assert sorted(done for done, _ in seen) == list(range(1, len(ENGLISH) + 1))
    assert isinstance(translate.engine, Seq2SeqEngine)


@pytest.mark.parametrize(("name", "target"), PAIRS)
def test_a_stream_joins_to_the_same_text(load, name, target):
    translate = load(name)
    for text, wanted in list(zip(ENGLISH, TARGETS[target], strict=True))[:4]:
        stream = translate.stream(text=text, source="en", target=target)
        pieces = list(stream)
        assert "".join(pieces) == stream.generation.text == wanted
        assert stream.generation.usage.completion_tokens > 1
        assert stream.generation.timing.first_token_s is not None


@pytest.mark.parametrize(("name", "target"), PAIRS)
def test_a_long_document_is_split_and_comes_out_whole(load, name, target):
    translate = load(name)
    document = "\n\n".join(ENGLISH * 3)
    assert translate.engine.count_tokens(document) > translate.engine.limits.encoder
    result = translate(text=document, source="en", target=target)
    assert result.text == "\n\n".join(TARGETS[target] * 3)
    assert [note.code for note in result.notes] == ["text_split"]
    assert result.usage.prompt_tokens > translate.engine.limits.encoder


@pytest.mark.parametrize("name", TRANSLATORS)
def test_a_language_that_the_model_does_not_know_is_named_with_those_it_knows(load, name):
    translate = load(name)
    with pytest.raises(InputError) as error:
        translate(text="Good morning.", source="en", target="tlh")
    assert error.value.code == "seq2seq_target"
    assert "German" in str(error.value) or error.value.parameters["count"] > 8
    assert "Klingon" in str(error.value)
    assert len(error.value.parameters["known"]) <= 8


@pytest.mark.parametrize("name", ["marian", "m2m100", "nllb", "mbart50", "mbart25", "t5", "mt5"])
def test_a_source_that_the_model_does_not_read_is_an_error(load, name):
    with pytest.raises(InputError) as error:
        load(name)(text="nuqneH", source="tlh", target="de")
    assert error.value.code == "seq2seq_source"


@pytest.mark.parametrize(
    ("name", "needed"),
    [("m2m100", True), ("nllb", True), ("mbart50", True), ("mbart25", True), ("marian", False), ("t5", False)],
)
def test_an_undetected_source_is_an_error_only_where_the_model_must_know_it(load, name, needed):
    translate = load(name)
    if needed:
        with pytest.raises(InputError) as error:
            translate(text="Ok.", target="de")
        assert error.value.code == "seq2seq_source_needed"
        assert "Set the source language" in str(error.value)
    else:
        assert "source_unsure" in [note.code for note in translate(text="Ok.", target="de", max_new_tokens=16).notes]


@pytest.mark.parametrize("name", ["marian", "nllb", "t5"])
def test_a_set_cancel_ends_a_stream_and_a_batch(load, name):
    translate = load(name)
    cancel = threading.Event()
    cancel.set()
    document = "\n\n".join(ENGLISH)
    stream = translate.stream(text=document, source="en", target="de", cancel=cancel)
    assert list(stream) == []
    assert stream.generation.finish_reason == "cancelled"
    results = translate.batch([{"text": document, "source": "en", "target": "de"}] * 3, cancel=cancel)
    assert [result.finish_reason for result in results] == ["cancelled"] * 3
    assert [result.usage.completion_tokens for result in results] == [0] * 3


@pytest.mark.parametrize("name", SUMMARIZERS)
def test_a_summarizer_gives_the_learned_summaries_alone_streamed_and_in_a_batch(load, name):
    summarize = load(name, "summarization")
    results = summarize.batch([{"text": text} for text in ARTICLES])
    assert [result.text for result in results] == SUMMARIES
    for text, wanted in zip(ARTICLES, SUMMARIES, strict=True):
        stream = summarize.stream(text=text)
        assert "".join(stream) == stream.generation.text == wanted


@pytest.mark.parametrize("name", SUMMARIZERS)
def test_a_long_text_is_summarized_part_by_part(load, name):
    summarize = load(name, "summarization")
    text = "\n\n".join(ARTICLES)
    assert summarize.engine.count_tokens(text) > summarize.engine.limits.encoder
    result = summarize(text=text)
    assert result.text == OVERVIEW
    (note,) = [note for note in result.notes if note.code == "map_reduce"]
    assert note.parameters["parts"] == len(ARTICLES)
    assert note.parameters["tree"][0][-1][1] == len(text)


@pytest.mark.parametrize(
    ("name", "task"),
    [("marian", "dialogue"), ("nllb", "summarization"), ("t5", "code_generation"), ("bart", "translation")],
)
def test_another_task_is_refused_with_those_that_the_model_does(load, name, task):
    engine = load(name, "summarization" if name == "bart" else "translation").engine
    with pytest.raises(InputError) as error:
        engine.check_task(task)
    assert error.value.code == "model_task"
    assert ("summarization" if name == "bart" else "translation") in str(error.value)
    with pytest.raises(InputError):
        Pipeline(TASKS[task](), engine).wording()


def test_a_folder_is_taken_for_what_its_config_says(tmp_path: Path):
    from pipelines.engines.seq2seq.loading import is_encoder_decoder
    from pipelines.models.source import ModelSource

    for config, wanted in [
        ('{"model_type": "llama"}', False),
        ('{"model_type": "whisper", "is_encoder_decoder": true}', True),
        ('{"model_type": "t5"}', True),  # older ones do not say it
    ]:
        (tmp_path / "config.json").write_text(config)
        assert is_encoder_decoder(ModelSource("x", "folder", tmp_path)) is wanted


@pytest.mark.parametrize("name", ["marian-many", "m2m100", "bart"])
def test_a_model_of_the_hub_comes_with_the_files_that_its_tokenizer_needs(
    name, tmp_path_factory, tmp_path, monkeypatch
):
    folder = checkpoint(name, tmp_path_factory.getbasetemp())
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with FakeHub() as hub:
        use_hub(hub, tmp_path, monkeypatch)
        hub.add("org/model", files)
        task = "summarization" if name == "bart" else "translation"
        run = pipeline(task, model="org/model", dtype="float32")
        assert isinstance(run.engine, Seq2SeqEngine)
        if name == "bart":
            assert run(text=ARTICLES[0]).text == SUMMARIES[0]
        else:
            assert run(text=ENGLISH[1], source="en", target="fr").text == TARGETS["fr"][1]
