"""A task's messages as versioned data.

A prompt file (``pipelines/tasks/prompts/<task>.yaml``) holds every word that a task sends to a model: Jinja
templates over the request's fields, and worked examples that are rendered through the same templates. Because a
prompt is complete data, an adapter can store the one it was trained with and be served and scored with exactly that.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipelines.errors import InputError

__all__ = ["Example", "FewShot", "Message", "Prompt", "load_prompt"]

Message = dict[str, str]
"""``{"role": "system" | "user" | "assistant", "content": text}``"""


class Example(BaseModel):
    """A worked example: the fields of a request and the reply that a good model gives."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fields: dict[str, Any]
    reply: str


class FewShot(BaseModel):
    """What a base model needs beyond a prompt for chat models: it goes on with examples, it follows no instruction.

    Attributes:
        templates: Templates instead of the prompt's own.
        examples: Examples instead of the prompt's own under the same key; those under ``any`` serve every key without
            examples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    templates: dict[str, str] = {}
    examples: dict[str, list[Example]] = {}


class Prompt(BaseModel):
    """Templates and examples of one task.

    Attributes:
        schema_version: Version of this file format.
        task: Name of the task.
        version: Raised with every change of wording.
        templates: Jinja templates by role in the conversation: ``user`` always, ``system`` where wanted, others by
            the task (``combine``, ``repair``…).
        examples: Worked examples by key (a language, a form…); shown before the request as earlier turns. Those under
            ``any`` serve the keys that have none.
        few_shot: What a model without a chat template gets besides.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    task: str
    version: int
    templates: dict[str, str]
    examples: dict[str, list[Example]] = {}
    few_shot: FewShot = FewShot()

    def for_base_model(self) -> "Prompt":
        """This prompt for a model without a chat template."""
        templates = {**self.templates, **self.few_shot.templates}
        examples = {**self.examples, **self.few_shot.examples}
        return self.model_copy(update={"templates": templates, "examples": examples, "few_shot": FewShot()})

    def render(self, template: str, fields: Mapping[str, Any]) -> str:
        """One template filled with fields; surrounding blank space is removed.

        Raises:
            InputError: ``prompt_template`` for one that cannot be rendered: adapters of strangers bring their own.
        """
        try:
            return str(_compiled(self.templates[template]).render(**fields)).strip()
        except Exception as error:  # a template is a program: it fails in any way it likes
            raise InputError("prompt_template", task=self.task, template=template, problem=repr(error)) from error

    def messages(self, fields: Mapping[str, Any], *, template: str = "user", examples: str = "") -> list[Message]:
        """System message, the examples under the key ``examples``, then the request itself."""
        turns: list[Message] = []
        if system := self.render("system", fields) if "system" in self.templates else "":
            turns.append({"role": "system", "content": system})
        for example in self.examples.get(examples, self.examples.get("any", [])):
            turns.append({"role": "user", "content": self.render(template, {**fields, **example.fields})})
            turns.append({"role": "assistant", "content": example.reply})
        turns.append({"role": "user", "content": self.render(template, fields)})
        return turns

    def digest(self, chat_template: str) -> str:
        """SHA-256 over this prompt and the model's chat template: equal digests mean equal text to the model."""
        content = json.dumps([self.model_dump(), chat_template], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()


@cache
def load_prompt(task: str) -> Prompt:
    """The prompt that ships for a task."""
    import yaml

    path = files("pipelines.tasks") / "prompts" / f"{task}.yaml"
    return Prompt.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@cache
def _compiled(template: str) -> Any:
    # Sandboxed because an adapter brings its own prompt and adapters come from strangers; transformers does the same
    # for chat templates.
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, autoescape=False)  # plain text
    return environment.from_string(template)
