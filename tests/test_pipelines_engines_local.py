"""The local engine on a tiny trained model, and on the embedded one where its weights are the point."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import InputError
from pipelines.engines.base import Call, Completion
from pipelines.engines.local import LocalEngine
from pipelines.generation import GenerationOptions
from pipelines.models.source import ModelSource
from tests.doubles.tiny import PAIRS, tiny_chat_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("tiny"))


def load(folder: Path, **options: Any) -> LocalEngine:
    return LocalEngine(ModelSource("tiny", "folder", folder), **options)


@pytest.fixture(scope="module")
def tiny(folder: Path) -> LocalEngine:
    return load(folder, dtype="float32")


def call(text: str, *, system: str = "", **options: Any) -> Call:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    options = {"max_new_tokens": 40, "temperature": 0.0, **options}
    return Call(messages, GenerationOptions(**options), shared=len(messages) - 1)


def completion(engine: LocalEngine, one: Call, cancel: threading.Event | None = None) -> Completion:
    """The completion of a stream, after checking that its pieces are the text."""
    *pieces, last = engine.stream(one, cancel)
    assert isinstance(last, Completion)
    assert "".join(str(piece) for piece in pieces) == last.text
    return last


def generated(model: Any, engine: LocalEngine, one: Call) -> str:
    """The same call through transformers' own generate, greedy."""
    prompt = engine.tokenizer.apply_chat_template(one.messages, add_generation_prompt=True, return_tensors="pt")
    output = model.generate(**prompt, max_new_tokens=one.options.max_new_tokens, do_sample=False)
    return engine.tokenizer.decode(output[0][prompt["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize(("question", "answer"), PAIRS)
def test_streams_what_the_model_learned(tiny: LocalEngine, question: str, answer: str) -> None:
    result = completion(tiny, call(question))
    assert result.text == answer
    assert result.finish_reason == "stop"
    assert result.prompt_tokens == tiny.count_prompt(call(question).messages)
    assert 0 < result.first_token_s <= result.total_s


def test_batch_gives_what_single_calls_give_in_their_order(tiny: LocalEngine) -> None:
    texts = [question for question, _ in PAIRS] + ["x " * 700, "Count to five. " * 60, "?"]
    calls = [call(text, max_new_tokens=5 + 7 * place) for place, text in enumerate(texts)]
    done: dict[int, Completion] = {}
    completions = tiny.batch(calls, on_done=done.__setitem__)
    assert [each.text for each in completions] == [completion(tiny, one).text for one in calls]
    assert [done[place] for place in range(len(calls))] == completions


def test_greedy_float32_equals_generate_token_for_token(tiny: LocalEngine) -> None:
    for text in ["Who are you?", "Tell me more. " * 150, "天气"]:
        one = call(text, system="You are terse. " * 12)
        assert completion(tiny, one).text == generated(tiny.model, tiny, one)


@pytest.mark.model
def test_greedy_float32_of_the_embedded_model_equals_generate(embedded_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    engine = load(embedded_model, dtype="float32")
    model = AutoModelForCausalLM.from_pretrained(embedded_model, dtype=torch.float32)
    for text in ["Name the three primary colours.", "Write a limerick about a librarian."]:
        one = call(text, max_new_tokens=32)
        assert completion(engine, one).text == generated(model, engine, one)


@pytest.mark.model
def test_one_row_copies_keep_the_embedded_model_sensible(embedded_model: Path) -> None:
    engine = load(embedded_model)
    assert "Paris" in completion(engine, call("What is the capital of France?")).text


def test_a_shared_beginning_changes_nothing(tiny: LocalEngine) -> None:
    system = "Answer in one sentence, and never say more than you know. " * 4
    calls = [call(question, system=system) for question, _ in PAIRS]
    first = [completion(tiny, one).text for one in calls]
    again = [completion(tiny, one).text for one in calls]  # now the beginning is found in the cache
    assert first == again == [each.text for each in tiny.batch(calls)]


def test_where_nothing_is_kept_replies_stay_the_same(folder: Path) -> None:
    engine = load(folder, dtype="float32")
    one = replace(call("Who are you?", system="You are terse. " * 12), shared=1, goes_on=True)
    text = completion(engine, one).text
    engine.keep_nothing()
    assert [completion(engine, one).text for _ in range(2)] == [text, text]
    assert engine._runner.prefixes._entries == {}
    assert engine._runner.conversations._kept == []


def test_a_seed_repeats_alone_and_in_a_batch(tiny: LocalEngine) -> None:
    calls = [call("Tell me a story", temperature=4.0, top_p=0.98, seed=seed, max_new_tokens=20) for seed in (1, 2, 1)]
    first, second, third = (each.text for each in tiny.batch(calls))
    assert first == third != second
    assert first == completion(tiny, calls[0]).text


def test_finished_rows_leave_the_batch(folder: Path) -> None:
    engine = load(folder, dtype="float32")
    rows: list[int] = []
    engine.model.register_forward_pre_hook(
        lambda _m, _a, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    engine.batch([call(question) for question, _ in PAIRS])
    assert rows[0] == len(PAIRS)
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] == 1


def test_batches_stay_within_the_token_budget(folder: Path) -> None:
    engine = load(folder, dtype="float32", token_budget=150)
    widest: list[int] = []

    def watch(_module: Any, _arguments: Any, kwargs: Any) -> None:
        rows, width = kwargs["input_ids"].shape
        widest.append(rows * (kwargs["past_key_values"].get_seq_length() + width))

    engine.model.register_forward_pre_hook(watch, with_kwargs=True)
    texts = [question for question, _ in PAIRS] * 4
    completions = engine.batch([call(text, max_new_tokens=20) for text in texts])
    assert len(completions) == len(texts)
    assert max(widest) <= 150


@pytest.mark.parametrize("stop", ["three", "o th", "five", "\n", "one"])
def test_stop_strings_end_the_text_before_them(tiny: LocalEngine, stop: str) -> None:
    answer = "one two three four five"
    result = completion(tiny, call("Count to five.", stop=(stop,)))
    assert result.text == answer.split(stop)[0]
    assert result.finish_reason == "stop"


def test_limits_end_with_their_reason(tiny: LocalEngine) -> None:
    assert completion(tiny, call("Count to five.", max_new_tokens=2)).finish_reason == "length"
    assert completion(tiny, call("Count to five.", deadline_s=1e-9)).finish_reason == "deadline"


def test_cancel_ends_within_one_token_and_the_next_request_works(tiny: LocalEngine) -> None:
    cancel = threading.Event()
    stream = tiny.stream(call("Count to five."), cancel)
    next(stream)
    cancel.set()
    *pieces, last = stream
    assert isinstance(last, Completion)
    assert last.finish_reason == "cancelled"
    assert len(pieces) <= 1
    assert completion(tiny, call("Who are you?")).text == "A tiny model."


def test_cancel_works_while_a_long_prompt_is_read(folder: Path) -> None:
    engine = load(folder, dtype="float32")
    cancel, passes = threading.Event(), []

    def watch(*_: Any) -> None:
        passes.append(1)
        cancel.set()

    engine.model.register_forward_pre_hook(watch)
    assert completion(engine, call("a" * 1500), cancel).finish_reason == "cancelled"
    assert len(passes) == 1


def test_a_stopped_batch_does_not_begin_what_is_left(folder: Path) -> None:
    engine = load(folder, dtype="float32", token_budget=1)  # every row is a batch of its own
    cancel, passes = threading.Event(), []
    engine.model.register_forward_pre_hook(lambda *_: passes.append(1))
    completions = engine.batch([call("Count to five.")] * 3, cancel, on_done=lambda *_: (cancel.set(), passes.clear()))
    assert [each.finish_reason for each in completions] == ["stop", "cancelled", "cancelled"]
    assert not passes


def test_the_deadline_of_a_batch_counts_from_its_start(folder: Path) -> None:
    engine = load(folder, dtype="float32", token_budget=1)
    completions = engine.batch([call("Count to five.", deadline_s=3600.0), call("Who are you?", deadline_s=1e-6)])
    assert [each.finish_reason for each in completions] == ["stop", "deadline"]
    assert completions[1].completion_tokens == 0


def test_conversations_run_together_though_their_earlier_turns_differ(folder: Path) -> None:
    engine = load(folder, dtype="float32")
    shapes: list[tuple[int, ...]] = []
    engine.model.register_forward_pre_hook(
        lambda _m, _a, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    engine.batch([call("Who are you?", system=f"{place} " * 40, max_new_tokens=3) for place in range(4)])
    assert [rows for rows, tokens in shapes if tokens == 1] == [4, 4]  # the third token needs no pass after it


def test_closing_a_stream_frees_the_engine(tiny: LocalEngine) -> None:
    stream = tiny.stream(call("Count to five."))
    next(stream)
    stream.close()
    assert completion(tiny, call("Who are you?")).text == "A tiny model."


def test_a_prompt_over_the_context_length_is_refused_with_numbers(tiny: LocalEngine) -> None:
    with pytest.raises(InputError, match="reads 2048 at most") as caught:
        tiny.batch([call("word " * 5000)])
    assert caught.value.parameters["tokens"] > 2048
    assert completion(tiny, call("Who are you?")).text == "A tiny model."


def test_an_adapter_changes_the_replies(folder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder), LoraConfig(r=4, target_modules=["q_proj", "down_proj"])
    )
    torch.manual_seed(0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=5.0)
    adapted.save_pretrained(tmp_path / "adapter")
    engine = load(folder, adapter=str(tmp_path / "adapter"))
    one = call("Who are you?", max_new_tokens=8)
    with torch.inference_mode():
        expected = generated(adapted.eval(), engine, one)
    exact = load(folder, adapter=str(tmp_path / "adapter"), dtype="float32")
    assert completion(exact, replace(one, adapter=exact.view(None).adapter)).text == expected
    assert completion(exact, one).text == "A tiny model."  # a call without an adapter is for the base model
    assert expected != "A tiny model."
    assert engine.view(None).provenance()["adapter"] == "adapter"


def test_an_adapter_of_another_model_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    from tests.doubles.tiny import tiny_llama

    other = get_peft_model(tiny_llama(300, hidden_size=32), LoraConfig(r=2, target_modules=["q_proj"]))
    other.save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match="does not fit this model"):
        load(folder, adapter=str(tmp_path / "adapter"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"dtype": "int3"}, "no number format"),
        ({"device": "mps"}, "has no mps"),
    ],
)
def test_wrong_devices_and_formats_name_the_right_ones(folder: Path, options: dict[str, str], says: str) -> None:
    if options.get("device") == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has mps")
    with pytest.raises(InputError, match=says):
        load(folder, **options)
