"""A task for tests that answers in each way a task can, and its pipeline on the scripted engine."""

from pipelines import InputError, Pipeline, Prompt
from pipelines.engines.scripted import ScriptedEngine
from pipelines.generation import GenerationOptions
from pipelines.requests import TaskRequest, Text
from pipelines.tasks.base import Step, Stopped, Task

PROMPT = Prompt(task="letters", version=3, templates={"user": "{{ text }}"})


class Request(TaskRequest):
    """A text, and the way to answer it."""

    text: Text
    mode: str = "live"


class Letters(Task[Request]):
    """Each way of a task to answer: shown live, settled at the end, in two steps, with an error in the middle."""

    name = "letters"
    request_type = Request
    defaults = GenerationOptions(max_new_tokens=64, temperature=0.5, top_p=1.0, repetition_penalty=1.0)
    metrics = ()
    text_fields = ("text",)

    def fields_from_text(self, text):
        return {"text": text}

    def messages(self, request, prompt):
        return prompt.messages(request.model_dump())

    def parse(self, reply, request, *, complete=True):
        return reply.strip()

    def from_row(self, row):
        return Request(text=row["text"]), row["reply"]

    def steps(self, request, run):
        call = run.call(self.messages(request, run.prompt), request)
        if request.mode == "live":
            yield "> "
            yield Step([call], show=lambda reply, complete: self.parse(reply, request))
            yield "!"
        elif request.mode == "settled":
            yield " ".join(done.text for done in (yield Step([call, call])))
        elif request.mode == "fails":
            yield Step([call])
            raise InputError("text_empty", field="second")
        else:
            yield from self._in_two_steps(call, run)

    def _in_two_steps(self, call, run):
        try:
            (first,) = yield Step([call])
            yield first.text
            yield ""
            (second,) = yield Step([call])
            yield second.text
        except Stopped as stop:
            yield f"[{stop.completions[0].text}]"
            run.note("turns_dropped")
            yield Step([call])  # a stopped request gets no further step
        except GeneratorExit:
            run.note("role_leak")
            raise


def letters(script="one two three", **engine):
    """The pipeline on a script."""
    script = [script] if isinstance(script, str) else script
    return Pipeline(Letters(), ScriptedEngine(script, **engine), PROMPT)


def codes(result):
    """Codes of the notes."""
    return [note.code for note in result.notes]
