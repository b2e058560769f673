"""The engine for encoder–decoder models as an engine: every promise of the contract holds (stops, deadlines, cancels,
limits, adapters, errors).
"""

import json
import shutil
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines import TASKS, CinquainError, InputError, Note, Pipeline, pipeline
from pipelines.engines import load_engine
from pipelines.engines.base import Call, Completion
from pipelines.engines.placement import Placement
from pipelines.engines.seq2seq.engine import Seq2SeqEngine
from pipelines.generation import GenerationOptions
from tests.doubles.seq2seq_calls import Engines, load, run, summarize, translate, workers
from tests.doubles.seq2seq_training import GERMAN, TARGETS
from tests.doubles.tiny_seq2seq import ARTICLES, INSTRUCTIONS, SUMMARIES


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    return Engines(tmp_path_factory.getbasetemp())


def test_stop_strings_end_the_text_and_are_no_part_of_it(engine):
    for beams in (1, 4):
        _, completion = run(engine("marian", num_beams=beams), translate("We drink cold water.", stop=("Wasser",)))
        assert (completion.text, completion.finish_reason) == ("Wir trinken kaltes ", "stop")


def test_a_deadline_that_has_passed_ends_the_work(engine):
    for beams in (1, 4):
        _, completion = run(engine("marian", num_beams=beams), translate(deadline_s=1e-9))
        assert (completion.text, completion.finish_reason, completion.first_token_s) == ("", "deadline", None)


class After(threading.Event):
    """A cancel that comes once it has been looked at so many times, in the middle of the work."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def is_set(self) -> bool:
        self.looks -= 1
        return self.looks < 0


@pytest.mark.parametrize("looks", range(2, 9))
@pytest.mark.parametrize("beams", [1, 4])
def test_a_cancel_in_the_middle_keeps_what_there_is(engine, beams, looks):
    _, completion = run(engine("marian", num_beams=beams), translate("She reads a good book."), After(looks))
    assert completion.finish_reason == "cancelled"
    assert 0 < completion.completion_tokens <= looks
    assert GERMAN[6].startswith(completion.text)
    assert not workers()


def test_closing_a_stream_ends_its_thread_and_frees_the_engine(engine):
    ours = engine("marian", num_beams=1)
    stream = ours.stream(translate("She reads a good book.", max_new_tokens=200))
    assert isinstance(next(stream), str)
    stream.close()
    assert not workers()
    assert run(ours, translate())[1].text == GERMAN[1]


def test_an_error_in_the_models_thread_is_raised_where_the_text_is_read(engine, monkeypatch):
    ours = engine("marian", num_beams=1)

    def broken(**_arguments: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(ours.model, "generate", broken)
    with pytest.raises(RuntimeError, match="no memory"):
        run(ours, translate())
    assert not workers()


def test_a_text_over_the_limit_is_refused_by_the_length_of_the_encoder_alone(engine):
    ours = engine("bart")
    with pytest.raises(InputError) as error:
        ours.batch([summarize(" ".join(ARTICLES))])
    assert error.value.code == "input_too_long"
    assert error.value.parameters["limit"] == ours.limits.encoder == 84
    assert "encoder of this model reads 84 at most" in str(error.value)
    chat = Pipeline(TASKS["dialogue"](), engine("flan"))  # a conversation cannot be split as a long document is
    with pytest.raises(InputError) as error:
        chat(messages=[{"role": "user", "content": "What colour is the sky? " * 200}])
    assert error.value.code == "input_too_long"
    assert error.value.parameters["limit"] == engine("flan").limits.encoder
    assert "reply" not in str(error.value)


def test_room_counts_the_request_and_not_the_messages(engine):
    ours = engine("bart")
    call = summarize(ARTICLES[0])
    room = ours.room(Call([{"role": "user", "content": "word " * 500}], call.options, call.task, call.request))
    assert not room.shared
    assert room.prompt == 84 - len(ours.tokenizer(ARTICLES[0])["input_ids"])
    assert room.reply == 83


def test_a_text_to_text_model_without_prefixes_takes_every_task_in_words(engine):
    ours = engine("flan")
    for task in ("translation", "summarization", "dialogue", "code_generation", "creative_writing"):
        ours.check_task(task)
    assert ours.follows_instructions
    calls = [Call([{"role": "user", "content": question}], task="dialogue") for question, _ in INSTRUCTIONS]
    assert [result.text for result in ours.batch(calls)] == [answer for _, answer in INSTRUCTIONS]
    pieces, _ = run(ours, calls[0])
    assert len(pieces) > 2  # no beams for an answer
    code = Call(calls[0].messages, GenerationOptions(max_new_tokens=8), "code_generation")
    assert [note.code for note in run(ours, code)[1].notes] == ["seq2seq_lines"]


def test_a_conversation_is_written_with_its_speakers(engine):
    ours = engine("flan")
    talk = [
        {"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Bye"},
    ]  # fmt: skip
    written = "Be kind.\n\nUser: Hi\n\nAssistant: Hello!\n\nUser: Bye\n\nAssistant:"
    template = ours.chat_template
    assert ours.tokenizer.apply_chat_template(talk, chat_template=template, tokenize=False) == written
    assert (
        ours.tokenizer.apply_chat_template(talk[:2], chat_template=template, tokenize=False).strip() == "Be kind.\n\nHi"
    )
    assert ours.count_prompt(talk) == len(ours.tokenizer(written)["input_ids"])


def test_a_prefix_of_the_persons_own_and_a_longer_input(engine):
    ours = engine("t5", prefix="translate English to French: ", input_limit=1000)
    assert run(ours, translate(target="ja"))[1].text == TARGETS["fr"][1]
    assert ours.context_length == 1000
    assert engine("bart", input_limit=1000).context_length == 84  # its table of positions ends there


def test_what_the_model_cannot_follow_is_noted_once(engine):
    summarizer = pipeline("summarization", model=str(engine.folder("bart")), dtype="float32")
    result = summarizer(text="\n\n".join(ARTICLES), length="bullets", focus="money")
    (note,) = [note for note in result.notes if note.code == "seq2seq_unfollowed"]
    assert note.parameters["fields"] == ["length", "focus"]


def test_provenance_names_what_the_tokens_come_from(engine):
    provenance = engine("nllb").provenance()
    assert json.loads(json.dumps(provenance)) == provenance
    assert (provenance["engine"], provenance["family"], provenance["dtype"]) == ("seq2seq", "nllb", "float32")


def lora(folder: Path, base: Path) -> Path:
    """An adapter with random layers: enough to change every reply."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSeq2SeqLM

    torch.manual_seed(1)
    config = LoraConfig(
        r=4, lora_alpha=256, target_modules=["q_proj", "v_proj"], task_type="SEQ_2_SEQ_LM", init_lora_weights=False
    )
    get_peft_model(AutoModelForSeq2SeqLM.from_pretrained(base), config).save_pretrained(folder)
    return folder


def test_adapters_are_chosen_for_each_request_and_never_leak(engine, tmp_path):
    adapter = lora(tmp_path / "other", engine.folder("bart"))
    base = run(engine("bart"), summarize(ARTICLES[0]))[1].text
    for beams in (1, 4):
        ours = load(engine.folder("bart"), adapter, num_beams=beams)
        view = ours.view(None)
        assert view.provenance()["adapter"] == "other"
        assert view.provenance()["adapter_sha256"]
        call = summarize(ARTICLES[0])
        under = replace(call, adapter=view.adapter)
        changed = run(ours, under)[1]
        assert changed.text != base
        assert [note.code for note in changed.notes] == ["adapter_without_fingerprint"]
        together = [result.text for result in ours.batch([call, under, call, under])]
        assert together == [base, changed.text] * 2
        assert run(ours, call)[1].text == base
        ours.adapters.unload("other")
        with pytest.raises(InputError):
            ours.batch([under])


def test_an_adapter_for_another_model_is_refused(engine, tmp_path):
    adapter = lora(tmp_path / "other", engine.folder("bart"))
    with pytest.raises(InputError) as error:
        load(engine.folder("t5"), adapter)
    assert error.value.code == "adapter_load_failed"


def test_a_request_that_waits_for_the_engine_can_be_cancelled(engine):
    ours = engine("marian", num_beams=1)
    cancel = threading.Event()
    first = ours.stream(translate("She reads a good book."))
    next(first)
    waiting: list[Completion] = []
    thread = threading.Thread(target=lambda: waiting.extend(ours.batch([translate()], cancel)))
    thread.start()
    cancel.set()
    thread.join()
    assert [result.finish_reason for result in waiting] == ["cancelled"]
    first.close()


def test_beams_are_one_or_more(engine):
    with pytest.raises(InputError, match="must be 1 or more, not 0"):
        load(engine.folder("bart"), num_beams=0)


def test_a_checkpoint_without_some_of_its_weights_is_refused(engine, tmp_path):
    folder = Path(shutil.copytree(engine.folder("bart"), tmp_path / "bart"))
    weights = load_file(folder / "model.safetensors")
    del weights["model.decoder.layers.0.fc1.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError) as error:
        load(folder)
    assert error.value.code == "model_weights_missing"


def test_options_are_checked_against_the_engine_that_the_model_gets(engine):
    with pytest.raises(InputError) as error:
        load_engine(str(engine.folder("bart")), num_beam=3)
    assert error.value.parameters["nearest"] == "num_beams"


def test_a_closed_engine_gives_the_memory_of_its_model_back(engine):
    ours = load(engine.folder("bart"))
    run(ours, summarize())
    model = weakref.ref(ours.model)
    ours.close()
    assert ours.model is None
    assert model() is None


def test_what_a_person_should_know_of_the_placement_comes_with_every_answer(engine, monkeypatch):
    spread = Note("memory_spread", {"devices": ["cuda:0", "cuda:1"]})
    monkeypatch.setattr("pipelines.engines.in_process.place", lambda *_: Placement(("cpu",), notes=(spread,)))
    ours = load(engine.folder("bart"))
    assert spread in run(ours, summarize())[1].notes
    assert [spread in result.notes for result in ours.batch([summarize(), summarize(ARTICLES[0])])] == [True, True]


@pytest.mark.parametrize(("name", "attention"), [("bart", "eager"), ("bart", "sdpa"), ("marian", "eager")])
def test_attention_can_be_asked_for(engine, name, attention):
    ours = engine(name, attention=attention)
    assert ours.provenance()["attention"] == ours.model.config._attn_implementation == attention
    call = translate() if name == "marian" else summarize(ARTICLES[0])
    assert run(ours, call)[1].text == (GERMAN[1] if name == "marian" else SUMMARIES[0])


@pytest.mark.parametrize("option", ["quantization=8bit", "quantization=4bit", "attention=flash_attention_2"])
def test_what_needs_an_nvidia_gpu_says_so_elsewhere(engine, option):
    name, _, value = option.partition("=")
    with pytest.raises(InputError, match=f"{option} runs on NVIDIA GPUs only"):
        load(engine.folder("bart"), device="cpu", **{name: value})


@pytest.mark.parametrize("streamed", [False, True])
def test_memory_that_runs_out_is_one_sentence(engine, monkeypatch, streamed):
    ours = engine("marian", num_beams=1)

    def full(**_arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(ours.model, "generate", full)
    with pytest.raises(CinquainError) as error:
        run(ours, translate()) if streamed else ours.batch([translate()] * 3)
    assert error.value.code == "memory_exhausted"
    assert error.value.parameters["rows"] == (1 if streamed else 3)


def test_the_estimate_counts_no_copies_that_this_engine_does_not_make(engine):
    ours = engine("bart")
    estimated = Seq2SeqEngine(ours.source).placement.estimate  # as this machine would have it
    assert estimated is not None
    assert estimated.copies == 0
