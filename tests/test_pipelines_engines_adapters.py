"""Adapters of an engine: exact, switched for each request, mixed in a batch, loaded and unloaded while it runs."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines import InputError, Pipeline, Prompt, load_prompt
from pipelines.engines.base import CallsFailedError, Completion
from pipelines.engines.local import LocalEngine
from pipelines.tasks import TASKS
from tests.doubles.tiny import tiny_chat_model
from tests.doubles.tiny_adapters import QUESTIONS, answer, ask, error_of, load, sign, text, tiny_adapter, turned

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT on tied embeddings, transformers on its own next version

BARE = Prompt(task="dialogue", version=50, templates={"system": ""})
"""Just the turns, as the tiny models learned them."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def base(root: Path) -> Path:
    return tiny_chat_model(root / "tiny")


@pytest.fixture(scope="module")
def one(base: Path, root: Path) -> Path:
    return tiny_adapter(base, root / "one", turned(1))


@pytest.fixture(scope="module")
def two(base: Path, root: Path) -> Path:
    return tiny_adapter(base, root / "two", turned(2), r=4, target_modules=["q_proj", "v_proj", "down_proj"])


@pytest.fixture(scope="module")
def dora(base: Path, root: Path) -> Path:
    return tiny_adapter(base, root / "dora", turned(3), use_dora=True)


@pytest.fixture(scope="module")
def shared(base: Path, one: Path, two: Path, dora: Path) -> LocalEngine:
    return load(base, one, two, dora)


def test_a_batch_mixes_adapters_and_base_in_one_pass(shared: LocalEngine) -> None:
    calls = [ask(question, name) for question in QUESTIONS for name in (None, "one", "two")]
    rows: list[int] = []
    hook = shared.model.register_forward_pre_hook(
        lambda _m, _a, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    found = [each.text for each in shared.batch(calls)]
    hook.remove()
    assert found == [answer(q, places) for q in QUESTIONS for places in (0, 1, 2)]
    assert rows[0] == 12
    assert rows == sorted(rows, reverse=True)
    assert 1 <= rows[-1] < 12  # rows leave as they end, and the others keep their adapters


def test_dora_runs_in_a_batch_of_its_own(shared: LocalEngine) -> None:
    rows: set[int] = set()
    hook = shared.model.register_forward_pre_hook(
        lambda _m, _a, kwargs: rows.add(len(kwargs["input_ids"])), with_kwargs=True
    )
    found = [each.text for each in shared.batch([ask(QUESTIONS[0], name) for name in (None, "dora", "one", "dora")])]
    hook.remove()
    assert found == [answer(QUESTIONS[0], places) for places in (0, 3, 1, 3)]
    assert max(rows) == 2


def test_states_of_a_beginning_are_never_another_adapter_s(base: Path, one: Path) -> None:
    def calls(engine: LocalEngine, name: str | None) -> list[str]:
        batch = [replace(ask(q, name), messages=[system, *ask(q).messages], shared=1) for q in QUESTIONS[:2]]
        return [each.text for each in engine.batch(batch)]

    # A beginning that these models never saw may confuse both alike, on one processor and not on another.
    for words in ("Answer well. ", "The moon is near. ", "Yes. No. ", "Hello! "):
        system = {"role": "system", "content": words * 30}
        alone = {name: calls(load(base, one), name) for name in ("one", None)}
        if alone["one"] != alone[None]:
            break
    assert alone["one"] != alone[None]
    engine = load(base, one)
    for name in ("one", None, "one"):
        assert calls(engine, name) == alone[name]
    both = [replace(ask(q, name), messages=[system, *ask(q).messages], shared=1) for name in ("one", None) for q in QUESTIONS[:2]]  # fmt: skip # noqa: E501
    assert [each.text for each in engine.batch(both)] == [*alone["one"], *alone[None]]


def test_threads_under_different_adapters_never_mix(base: Path, one: Path, two: Path, dora: Path) -> None:
    engine = load(base, one, two)
    wrong: list[Any] = []
    done = threading.Event()

    def work(name: str | None, places: int, batch: bool) -> None:
        try:
            for _ in range(6):
                if batch:
                    found = [each.text for each in engine.batch([ask(q, name) for q in QUESTIONS])]
                else:
                    found = [text(engine, ask(q, name)) for q in QUESTIONS]
                wrong.extend(found if found != [answer(q, places) for q in QUESTIONS] else [])
        except BaseException as error:
            wrong.append(error)

    def come_and_go() -> None:
        while not done.is_set():
            engine.adapters.load(dora, "guest")
            engine.adapters.unload("guest")

    plans = [(None, 0, False), ("one", 1, False), ("two", 2, False), ("one", 1, True), ("two", 2, True)]
    threads = [threading.Thread(target=work, args=plan) for plan in plans]
    guest = threading.Thread(target=come_and_go)
    for thread in [*threads, guest]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    guest.join()
    assert wrong == []


def test_load_list_unload(base: Path, one: Path, two: Path) -> None:
    engine = load(base)
    assert engine.adapters.list() == ()
    assert engine.adapters.load(one) == "one"
    assert engine.adapters.load(two, "second") == "second"
    assert [(each.name, each.layers.kind, each.path) for each in engine.adapters.list()] == [
        ("one", "LORA", one), ("second", "LORA", two)
    ]  # fmt: skip
    error_of("adapter_name_taken", lambda: engine.adapters.load(two, "one"))
    for name in ("base", "", " ", "a@b"):
        error_of("adapter_name_reserved", lambda name=name: engine.adapters.load(two, name))
    assert "base, one, second" in str(error_of("adapter_not_loaded", lambda: engine.view("three")))
    engine.adapters.unload("one")
    error_of("adapter_not_loaded", lambda: engine.adapters.unload("one"))
    assert text(engine, ask(QUESTIONS[0], "second")) == answer(QUESTIONS[0], 2)


def test_the_adapter_of_the_engine_is_its_default(base: Path, one: Path, two: Path) -> None:
    engine = load(base, adapter=str(one))
    engine.adapters.load(two)
    say = Pipeline(TASKS["dialogue"](), engine, BARE)

    def reply(**options: Any) -> Any:
        return say(messages=[{"role": "user", "content": QUESTIONS[2]}], temperature=0, max_new_tokens=24, **options)

    assert reply().text == answer(QUESTIONS[2], 1)
    assert reply(adapter="base").text == answer(QUESTIONS[2], 0)
    result = reply(adapter="two")
    assert result.text == answer(QUESTIONS[2], 2)
    assert result.provenance["engine"]["adapter"] == "two"
    assert result.provenance["engine"]["adapter_sha256"] != reply().provenance["engine"]["adapter_sha256"]
    assert reply(adapter="base").provenance["engine"]["adapter"] is None
    assert [note.code for note in result.notes].count("adapter_without_fingerprint") == 1
    rows = [{"messages": [{"role": "user", "content": QUESTIONS[2]}]} for _ in range(4)]
    named = [{**row, "adapter": name} for row, name in zip(rows, ["one", "base", "two", "nobody"], strict=True)]
    results = say.batch([rows[0], *named], errors="return", temperature=0, max_new_tokens=24)
    assert [getattr(each, "text", None) for each in results[:4]] == [answer(QUESTIONS[2], n) for n in (1, 1, 0, 2)]
    assert results[4].code == "adapter_not_loaded"
    engine.adapters.unload("one")
    assert reply().text == answer(QUESTIONS[2], 0)


def test_a_request_whose_adapter_has_gone_gets_one_sentence(base: Path, one: Path, two: Path) -> None:
    engine = load(base, one)
    view = engine.view("one")
    call = ask(QUESTIONS[0], view.adapter)
    assert text(engine, call) == answer(QUESTIONS[0], 1)
    engine.adapters.unload("one")
    assert "base" in str(error_of("adapter_unloaded", lambda: text(engine, call)))
    engine.adapters.load(two, "one")  # another one of the same name must not answer in its place
    error_of("adapter_unloaded", lambda: text(engine, call))
    with pytest.raises(CallsFailedError) as caught:
        engine.batch([ask(QUESTIONS[1]), call])
    first, second = caught.value.outcomes
    assert isinstance(first, Completion)
    assert first.text == answer(QUESTIONS[1], 0)
    assert isinstance(second, InputError)


def test_it_may_go_while_a_request_waits_for_the_engine(base: Path, one: Path) -> None:
    engine = load(base, one)
    wait = engine._runner.turn

    @contextmanager
    def gone_meanwhile(*arguments: Any) -> Iterator[None]:
        engine.adapters.unload("one")
        with wait(*arguments):
            yield

    engine._runner.turn = gone_meanwhile  # type: ignore[method-assign]
    with pytest.raises(CallsFailedError) as caught:
        engine.batch([ask(QUESTIONS[1], "one"), ask(QUESTIONS[1])])
    gone, answered = caught.value.outcomes
    assert isinstance(gone, InputError)
    assert gone.code == "adapter_unloaded"
    assert isinstance(answered, Completion)
    assert answered.text == answer(QUESTIONS[1], 0)
    engine.adapters.load(one)
    error_of("adapter_unloaded", lambda: text(engine, ask(QUESTIONS[1], "one")))


@pytest.fixture
def signed(one: Path, tmp_path: Path, empty_home: Path) -> Path:
    return Path(shutil.copytree(one, tmp_path / "signed"))


def test_another_base_is_an_error_with_both_hashes(base: Path, signed: Path, tmp_path: Path) -> None:
    fingerprint = sign(signed, base)
    engine = load(base)
    assert engine.adapters.load(signed) == "signed"
    other: Any = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        other.model.norm.weight[0] += 1e-3  # the same shape, and other weights
    other.save_pretrained(tmp_path / "other")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "other")
    unloadable = tmp_path / "other" / "config.json"
    config = unloadable.read_text()
    unloadable.write_text("{")  # the error comes before the model is loaded
    error = error_of("adapter_other_base", lambda: load(tmp_path / "other", adapter=str(signed)))
    unloadable.write_text(config)
    error_of("adapter_other_base", lambda: load(tmp_path / "other", signed))
    assert error.parameters["expected_sha256"] == fingerprint.base.sha256
    assert len(error.parameters["found_sha256"]) == 64
    assert error.parameters["found_sha256"] != fingerprint.base.sha256
    for digest in (error.parameters["expected_sha256"], error.parameters["found_sha256"]):
        assert digest[:12] in str(error)


def test_stored_prompt_and_template_are_the_ones_used(base: Path, signed: Path) -> None:
    shipped = load_prompt("summarization")
    prompt = shipped.model_copy(
        update={"version": 99, "templates": {**shipped.templates, "system": "STORED {{ length }}"}}
    )
    template = AutoTokenizer.from_pretrained(base).chat_template.replace("<|end|>", "<|end|>!!")
    sign(signed, base, prompt=prompt, template=template)
    engine = load(base, signed)
    view = engine.view("signed")
    assert view.wording("summarization", None) == prompt
    assert view.wording("dialogue", None) == load_prompt("dialogue")
    assert engine.view("base").wording("summarization", None) == shipped
    assert view.chat_template == template
    message = [{"role": "user", "content": "Hello"}]
    assert view.count_prompt(message) > engine.count_prompt(message)

    read: list[str] = []
    hook = engine.model.register_forward_pre_hook(
        lambda _m, _a, kwargs: read.append(engine.tokenizer.decode(kwargs["input_ids"][0])), with_kwargs=True
    )
    summarize = Pipeline(TASKS["summarization"](), engine)
    result = summarize(text="The sky is blue.", adapter="signed", max_new_tokens=4, temperature=0)
    assert "STORED" in "".join(read)
    assert "<|end|>!!" in "".join(read)
    assert result.provenance["prompt_version"] == 99
    assert result.provenance["prompt_sha256"] == prompt.digest(template)
    assert not [note for note in result.notes if note.code == "adapter_without_fingerprint"]
    read.clear()
    summarize(text="The sky is blue.", max_new_tokens=4, temperature=0)
    hook.remove()
    assert "STORED" not in "".join(read)


def test_only_an_explicit_other_prompt_is_an_error(base: Path, signed: Path) -> None:
    prompt = load_prompt("dialogue").model_copy(update={"version": 7})
    sign(signed, base, prompt=prompt)
    engine = load(base, signed)
    same, other = (Pipeline(TASKS["dialogue"](), engine, each) for each in (prompt, load_prompt("dialogue")))
    request = {"messages": [{"role": "user", "content": QUESTIONS[0]}], "max_new_tokens": 3}
    assert same(adapter="signed", **request).provenance["prompt_version"] == 7
    error = error_of("prompt_differs", lambda: other(adapter="signed", **request))
    template = engine.chat_template
    assert error.parameters["stored_sha256"] == prompt.digest(template)
    assert error.parameters["given_sha256"] == load_prompt("dialogue").digest(template)
    assert other(**request).provenance["prompt_version"] == load_prompt("dialogue").version


def test_a_stored_prompt_that_cannot_serve_is_refused(base: Path, signed: Path) -> None:
    engine = load(base)
    for templates, problem in (
        ({}, "lacks the template 'system'"),
        ({"system": "{% if %}"}, "system"),
        ({"system": "", "more": "{{ 1"}, "more"),
    ):
        sign(signed, base, prompt=Prompt(task="dialogue", version=1, templates=templates))
        assert problem in str(error_of("fingerprint_broken", lambda: engine.adapters.load(signed)))


@pytest.mark.parametrize("template", ["{{ ''.__class__.__mro__ }}", "{{ 1 // 0 }}", "{{ nothing.at.all }}"])
def test_a_prompt_of_a_stranger_runs_in_a_sandbox(template: str, base: Path, signed: Path) -> None:
    sign(signed, base, prompt=Prompt(task="dialogue", version=1, templates={"system": template}))
    say = Pipeline(TASKS["dialogue"](), load(base, adapter=str(signed)))
    error_of("prompt_template", lambda: say(messages=[{"role": "user", "content": "Hello"}]))


def test_a_template_of_a_stranger_runs_in_a_sandbox(base: Path, signed: Path) -> None:
    sign(signed, base, template="{{ ''.__class__.__mro__[1].__subclasses__() }}")
    error_of("model_chat_template", lambda: load(base, adapter=str(signed)))


def test_rows_on_the_command_line_choose_their_adapter(base: Path, signed: Path, tmp_path: Path) -> None:
    from apps.cli.main import main

    template = sign(signed, base, prompt=BARE).chat_template
    rows = [{"messages": [{"role": "user", "content": QUESTIONS[2]}]} for _ in range(2)]
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in (rows[0], {**rows[1], "adapter": "base"})))
    command = ["run", "dialogue", "--model", str(base), "--adapter", str(signed), "-i", str(source), "-o", str(output)]
    assert main([*command, "--set", "temperature=0", "--set", "max_new_tokens=24"]) == 0
    found = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in found] == [answer(QUESTIONS[2], 1), answer(QUESTIONS[2], 0)]
    digests = [prompt.digest(template) for prompt in (BARE, load_prompt("dialogue"))]
    assert [row["provenance"]["prompt_sha256"] for row in found] == digests
    assert [row["provenance"]["options"].get("adapter") for row in found] == [None, "base"]
