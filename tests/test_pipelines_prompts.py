"""Prompts: the shipped files, rendering, hashes, and templates from strangers."""

from itertools import pairwise
from typing import get_args

import pytest
from pydantic import ValidationError

from pipelines.errors import InputError
from pipelines.prompts import Prompt, load_prompt
from pipelines.tasks import TASKS
from pipelines.text.verse import Form

SAMPLE = {
    "task": "sample",
    "version": 1,
    "templates": {
        "system": "{% if polite %}Be polite.{% endif %}",
        "user": "\n  Say {{ word }}\n{% if loud %}\nLoudly.\n{% endif %}\n",
    },
    "examples": {"en": [{"fields": {"word": "hello"}, "reply": "Hello."}]},
}
FEW_SHOT = {
    "templates": {"system": "Words and what was said."},
    "examples": {"any": [{"fields": {"word": "yes"}, "reply": "Yes."}]},
}


def prompt(**changes):
    return Prompt.model_validate({**SAMPLE, **changes})


def test_system_examples_and_request_in_this_order():
    assert prompt().messages({"word": "bye", "polite": True}, examples="en") == [
        {"role": "system", "content": "Be polite."},
        {"role": "user", "content": "Say hello"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Say bye"},
    ]


def test_an_empty_system_message_is_left_out_and_so_are_unknown_examples():
    assert prompt().messages({"word": "bye"}, examples="xx") == [{"role": "user", "content": "Say bye"}]


def test_a_base_model_gets_other_templates_and_more_examples():
    sample = prompt(few_shot=FEW_SHOT)
    base = sample.for_base_model()
    assert [message["content"] for message in base.messages({"word": "bye"}, examples="en")] == [
        "Words and what was said.", "Say hello", "Hello.", "Say bye",
    ]  # fmt: skip
    assert [message["content"] for message in base.messages({"word": "bye"}, examples="xx")] == [
        "Words and what was said.", "Say yes", "Yes.", "Say bye",
    ]  # fmt: skip
    assert sample.messages({"word": "bye"}, examples="xx") == prompt().messages({"word": "bye"}, examples="xx")
    assert base.for_base_model() == base


def test_lines_of_conditions_leave_no_blank_lines():
    assert prompt().render("user", {"word": "bye", "loud": True}) == "Say bye\nLoudly."


def test_text_is_not_escaped_and_templates_in_it_are_not_run():
    assert prompt().render("user", {"word": "<b>{{ 7 * 7 }}</b>"}) == "Say <b>{{ 7 * 7 }}</b>"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ items.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ range(10000000) }}",
    ],
)
def test_a_hostile_template_gets_nowhere(template):
    hostile = prompt(templates={"user": template})
    try:
        text = hostile.render("user", {"items": []})
    except InputError:
        return
    assert text == ""


def test_the_digest_covers_everything():
    digest = prompt().digest("chat template")
    assert digest == prompt().digest("chat template")
    assert len(digest) == 64
    changed = [
        prompt(version=2),
        prompt(templates={**SAMPLE["templates"], "user": "Say {{ word }}."}),
        prompt(examples={}),
        prompt(few_shot=FEW_SHOT),
        prompt(few_shot={**FEW_SHOT, "templates": {}}),
    ]
    others = {one.digest("chat template") for one in changed} | {prompt().digest("another template")}
    assert len(others) == 6
    assert digest not in others


def test_a_file_with_unknown_keys_is_refused():
    with pytest.raises(ValidationError):
        prompt(temperature=1)


@pytest.mark.parametrize("name", TASKS)
def test_the_shipped_prompts(name):
    shipped = load_prompt(name)
    assert shipped.task == name
    assert shipped.version >= 1
    assert "any" not in shipped.examples, "chat models would read the examples for base models"
    base = shipped.for_base_model()
    assert base.examples["any" if name != "summarization" else "short"]
    for examples in [*shipped.examples.values(), *base.examples.values()]:
        assert all(example.reply.strip() for example in examples)


REQUESTS = {
    "translation": {"text": "Good morning.", "target": "fr"},
    "summarization": {"text": "A long day ended."},
    "dialogue": {"messages": [{"role": "user", "content": "Good morning."}]},
    "code_generation": {"instruction": "Add two numbers."},
    "creative_writing": {"brief": "Rain."},
}


@pytest.mark.parametrize("base", [False, True])
@pytest.mark.parametrize("name", TASKS)
def test_messages_end_with_the_user_and_carry_the_request(name, base):
    task = TASKS[name]()
    prompt = load_prompt(name).for_base_model() if base else load_prompt(name)
    messages = task.messages(task.request_type(**REQUESTS[name]), prompt)
    assert [message["role"] for message in messages if message["role"] != "system"][-1] == "user"
    words = next(value for value in REQUESTS[name].values() if isinstance(value, str | list))
    assert (words if isinstance(words, str) else words[0]["content"]) in messages[-1]["content"]
    assert all(set(message) == {"role", "content"} and message["content"] for message in messages)
    roles = [message["role"] for message in messages]
    assert "system" not in roles[1:]
    assert all(first != second for first, second in pairwise(roles))
    if base:
        assert roles.count("assistant") >= 1


EVERY_REQUEST = [
    *[
        ("translation", {"text": "Good morning.", "target": target})
        for target in ("fr", "en", "pt-BR", "fi", "zh-Hant")
    ],
    *[("summarization", {"text": "x", "length": length}) for length in ("sentence", "short", "paragraph", "bullets")],
    *[("creative_writing", {"brief": "Rain.", "form": form}) for form in get_args(Form)],
    *[("creative_writing", {"text": "Rain.", "mode": mode, "form": "story"}) for mode in ("continue", "rewrite")],
    *[("code_generation", {"instruction": "Add.", "language": language}) for language in ("python", "rust")],
    *[("code_generation", {"signature": "def f():", "language": language}) for language in ("python", "rust")],
]


@pytest.mark.parametrize(("name", "fields"), EVERY_REQUEST)
def test_every_kind_of_request_has_examples_for_a_base_model_and_they_parse_to_themselves(name, fields):
    task = TASKS[name]()
    request = task.request_type(**fields)
    messages = task.messages(request, load_prompt(name).for_base_model())
    replies = [message["content"] for message in messages if message["role"] == "assistant"]
    assert replies
    for reply in replies:
        parsed = task.parse(reply, request.model_copy(update={"text": "a\nb", "signature": None}))
        assert parsed in reply
        assert len(parsed) > 0.5 * len(reply), "what the examples show would be taken for chatter"


@pytest.mark.parametrize("name", TASKS)
def test_a_bare_text_is_a_request_of_every_task(name):
    task = TASKS[name]()
    fields = {**({"target": "fr"} if name == "translation" else {}), **task.fields_from_text("Good morning.")}
    assert task.request_type(**fields)
    assert task.defaults.max_new_tokens
    assert task.defaults.temperature is not None
