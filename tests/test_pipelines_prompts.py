"""Prompts: the shipped files, rendering, hashes, and templates from strangers."""

from itertools import pairwise

import pytest
from jinja2.exceptions import SecurityError
from pydantic import ValidationError

from pipelines.prompts import Prompt, load_prompt
from pipelines.tasks import TASKS

SAMPLE = {
    "task": "sample",
    "version": 1,
    "templates": {
        "system": "{% if polite %}Be polite.{% endif %}",
        "user": "\n  Say {{ word }}\n{% if loud %}\nLoudly.\n{% endif %}\n",
    },
    "examples": {"en": [{"fields": {"word": "hello"}, "reply": "Hello."}]},
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
    except (SecurityError, OverflowError):
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
    ]
    others = {one.digest("chat template") for one in changed} | {prompt().digest("another template")}
    assert len(others) == 4
    assert digest not in others


def test_a_file_with_unknown_keys_is_refused():
    with pytest.raises(ValidationError):
        prompt(temperature=1)


@pytest.mark.parametrize("name", TASKS)
def test_the_shipped_prompts(name):
    shipped = load_prompt(name)
    assert shipped.task == name
    assert shipped.version >= 1
    for examples in shipped.examples.values():
        assert all(example.reply.strip() for example in examples)


REQUESTS = {
    "translation": {"text": "Good morning.", "target": "fr"},
    "summarization": {"text": "A long day ended."},
    "dialogue": {"messages": [{"role": "user", "content": "Good morning."}]},
    "code_generation": {"instruction": "Add two numbers."},
    "creative_writing": {"brief": "Rain."},
}


@pytest.mark.parametrize("name", TASKS)
def test_messages_end_with_the_user_and_carry_the_request(name):
    task = TASKS[name]()
    messages = task.messages(task.request_type(**REQUESTS[name]), load_prompt(name))
    assert [message["role"] for message in messages if message["role"] != "system"][-1] == "user"
    words = next(value for value in REQUESTS[name].values() if isinstance(value, str | list))
    assert (words if isinstance(words, str) else words[0]["content"]) in messages[-1]["content"]
    assert all(set(message) == {"role", "content"} and message["content"] for message in messages)
    roles = [message["role"] for message in messages]
    assert "system" not in roles[1:]
    assert all(first != second for first, second in pairwise(roles))


@pytest.mark.parametrize("name", TASKS)
def test_a_bare_text_is_a_request_of_every_task(name):
    task = TASKS[name]()
    fields = {**({"target": "fr"} if name == "translation" else {}), **task.fields_from_text("Good morning.")}
    assert task.request_type(**fields)
    assert task.defaults.max_new_tokens
    assert task.defaults.temperature is not None
