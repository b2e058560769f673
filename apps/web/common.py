"""What the pages share: buttons, settings, the place of the result, and events that recover from every ending."""

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from apps.web.answer import Moment, Page, answer, explained, notes_html
from pipelines.errors import InputError
from pipelines.generation import Generation
from pipelines.tasks import TASKS
from pipelines.wording import sentence

__all__ = [
    "QUIET",
    "Controls",
    "button_states",
    "buttons",
    "examples",
    "given",
    "limits",
    "outcome",
    "required",
    "respond",
    "settings",
    "settings_fields",
    "toasts",
    "wire",
    "wire_stop",
]

QUIET = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
"""For events that take no time and are nobody else's business."""


@dataclass(frozen=True)
class Controls:
    """The components around the result of a page."""

    run: Any
    stop: Any
    status: Any
    notes: Any
    others: tuple[Any, ...] = ()
    """Buttons that must wait until the request has ended."""

    def buttons(self) -> list[Any]:
        """In the order of ``button_states``."""
        return [self.run, self.stop, *self.others]


def buttons(page: Page, name: str) -> tuple[Any, Any]:
    """Run, and Stop, which shows while a request runs."""
    import gradio as gr

    with gr.Row():
        run = gr.Button(page.t(f"{name}.run"), variant="primary", elem_id=f"{name}-run", min_width=120)
        stop = gr.Button(page.t("run.stop"), variant="stop", visible="hidden", elem_id=f"{name}-stop", min_width=120)
    return run, stop


def outcome(name: str) -> tuple[Any, Any]:
    """The line about the run and the notes, to stand under a result."""
    import gradio as gr

    status = gr.HTML("", label="run", elem_id=f"{name}-status", elem_classes="status", padding=False)
    return status, gr.HTML("", label="notes", elem_id=f"{name}-notes", elem_classes="notes-box", padding=False)


def settings(page: Page, name: str, task: str) -> list[Any]:
    """The generation options, folded away, set to the task's defaults."""
    import gradio as gr

    t, defaults = page.t, TASKS[task].defaults
    with gr.Accordion(t("settings.title"), open=False, elem_id=f"{name}-settings"):
        tokens = gr.Slider(
            16, 4096, value=defaults.max_new_tokens or 256, step=16,
            label=t("settings.max_new_tokens"), info=t("settings.max_new_tokens_info"),
            elem_id=f"{name}-max-new-tokens",
        )  # fmt: skip
        with gr.Row():
            temperature = gr.Slider(
                0, 2, value=defaults.temperature or 0, step=0.05,
                label=t("settings.temperature"), info=t("settings.temperature_info"), elem_id=f"{name}-temperature",
            )  # fmt: skip
            top_p = gr.Slider(
                0.05, 1, value=defaults.top_p or 1, step=0.05,
                label=t("settings.top_p"), info=t("settings.top_p_info"), elem_id=f"{name}-top-p",
            )  # fmt: skip
        # Not a gr.Number: an empty one becomes 0 as soon as the accordion is opened (Gradio 6.31).
        seed = gr.Textbox(
            "", label=t("settings.seed"), info=t("settings.seed_info"), max_length=19, elem_id=f"{name}-seed"
        )
    return [tokens, temperature, top_p, seed]


def given(**fields: str | None) -> dict[str, str]:
    """The fields that were filled in, without surrounding blank space."""
    return {name: value.strip() for name, value in fields.items() if value and value.strip()}


def settings_fields(max_new_tokens: float, temperature: float, top_p: float, seed: str) -> dict[str, Any]:
    """The values of the settings as generation options.

    Raises:
        InputError: The seed is no whole number.
    """
    fields: dict[str, Any] = {"max_new_tokens": int(max_new_tokens), "temperature": temperature, "top_p": top_p}
    if not seed.strip():
        return fields
    if not re.fullmatch("[0-9]{1,18}", seed.strip()):
        raise InputError("web_seed", found=seed.strip()[:30])
    return {**fields, "seed": int(seed)}


def limits(page: Page, name: str) -> None:
    """Say where the loaded model is weak at this page's task, if that is known."""
    import gradio as gr

    key = f"{name}.limits.{page.session.reference}"
    if page.t.has(key):
        gr.Markdown(page.t(key), elem_id=f"{name}-limits", elem_classes="limits")


def examples(page: Page, name: str, inputs: Sequence[Any]) -> None:
    """Inputs to try with one click; they fill the form and run nothing."""
    import gradio as gr

    gr.Examples(
        page.t.rows(f"{name}.examples"), list(inputs), label=page.t("examples.title"), elem_id=f"{name}-examples",
        visible_columns=[0], cache_examples=False, preload=False, api_visibility="private",
    )  # fmt: skip


def required(page: Page, count: int, index: int = 0) -> Callable[..., list[Any]]:
    """A validator for ``count`` inputs of which one must not be blank; its message appears inside that field."""
    import gradio as gr

    def validate(*values: Any) -> list[Any]:
        filled = bool(str(values[index] or "").strip())
        return [gr.validate(filled or number != index, page.t("error.empty")) for number in range(count)]

    return validate


@contextmanager
def toasts(page: Page) -> Iterator[None]:
    """Turn errors into one sentence in a toast."""
    import gradio as gr

    try:
        yield
    except Exception as error:
        message = sentence(explained(error), page.t.language)
        raise gr.Error(html.escape(message, quote=False), title=page.t("error.title"), print_exception=False) from None


def respond(
    page: Page,
    task: str,
    fields: Callable[[], Mapping[str, Any]],
    visitor: str | None,
    parts: Controls,
    show: Callable[[Moment], Sequence[Any]] = lambda moment: [moment.text],
    say: Callable[[Generation], str] = lambda generation: "",
) -> Iterator[list[Any]]:
    """Values for a page's components while a request runs: ``show`` of the result, then status, notes, buttons.

    What ``say`` says of the result stands behind the status.

    The generator owns the buttons, because an event that follows another one may never come: nothing follows a failed
    validator, and ``then`` does not run after an error.
    """
    busy = button_states(parts, busy=True)
    moment = Moment("", page.t("status.working"))
    with toasts(page):
        for moment in answer(page, task, fields(), visitor or ""):
            if moment.generation is None:
                yield [*show(moment), moment.status, "", *busy]
    notes = notes_html(moment.generation, page.t.language)
    more = say(moment.generation) if moment.generation else ""
    status = f"{moment.status} · {more}" if more else moment.status
    yield [*show(moment), status, notes, *button_states(parts, busy=False)]


def wire(
    page: Page,
    handler: Callable[..., Iterator[Any]],
    *,
    triggers: Sequence[Callable[..., Any]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    parts: Controls,
    api_name: str | None = None,
    validator: Callable[..., Any] | None = None,
) -> Any:
    """Connect a page's handler so that the buttons recover from success, a failed validator, an error and a stop."""
    import gradio as gr

    event = gr.on(
        list(triggers), handler, list(inputs), [*outputs, parts.status, parts.notes, *parts.buttons()],
        validator=validator, trigger_mode="once", concurrency_limit=None,  # turns.py has the queue
        show_progress="minimal", show_progress_on=parts.status,
        api_name=api_name, api_visibility="public" if api_name else "private",
    )  # fmt: skip
    event.failure(lambda: ["", *button_states(parts, busy=False)], None, [parts.status, *parts.buttons()], **QUIET)
    return event


def wire_stop(page: Page, stop: Any, *tasks: str) -> None:
    """Connect Stop: it ends this visitor's requests of these tasks.

    Gradio's own way, ``cancels``, drops the handler, so that nothing could say any more that the text is not complete.
    Here the handler goes on to its end, which comes within one token.
    """
    import gradio as gr

    def end(request: gr.Request) -> None:
        for task in tasks:
            page.session.stop(request.session_hash or "", task)

    stop.click(end, None, None, **QUIET)


def button_states(parts: Controls, *, busy: bool) -> list[Any]:
    """What the buttons are while a request runs, or when it has ended."""
    import gradio as gr

    stop = gr.Button(visible=True) if busy else gr.Button(visible="hidden")
    return [gr.Button(interactive=not busy), stop, *(gr.update(interactive=not busy) for _ in parts.others)]
