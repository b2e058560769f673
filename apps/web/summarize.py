"""The page Summarize."""

from collections.abc import Iterator
from typing import Any

from apps.web.answer import Page
from apps.web.common import (
    Controls,
    buttons,
    examples,
    given,
    limits,
    outcome,
    required,
    respond,
    settings,
    settings_fields,
    wire,
    wire_stop,
)
from apps.web.translate import languages

__all__ = ["build", "request_fields"]

TASK = "summarization"
LENGTHS = ("sentence", "short", "paragraph", "bullets")


def request_fields(text: str, length: str, focus: str | None, language: str | None) -> dict[str, Any]:
    """The form as fields of a summarization request; what was left open is left out."""
    return {"text": text, "length": length, **given(focus=focus, language=language)}


def build(page: Page) -> None:
    """Lay the page out and connect it."""
    import gradio as gr

    t = page.t
    limits(page, "summarize")
    with gr.Row():
        with gr.Column():
            text = gr.Textbox(label=t("summarize.text"), lines=10, max_lines=20, elem_id="summarize-text")
            length = gr.Radio(
                [(t(f"summarize.length.{name}"), name) for name in LENGTHS], value="short",
                label=t("summarize.length"), elem_id="summarize-length",
            )  # fmt: skip
            with gr.Row():
                focus = gr.Textbox(
                    "", label=t("summarize.focus"), placeholder=t("summarize.focus_hint"), min_width=160,
                    elem_id="summarize-focus",
                )  # fmt: skip
                language = gr.Dropdown(
                    [(t("summarize.same_language"), ""), *languages(page)], value="", label=t("summarize.language"),
                    min_width=160, allow_custom_value=True, elem_id="summarize-language",
                )  # fmt: skip
            run, stop = buttons(page, "summarize")
        with gr.Column():
            result = gr.Textbox(
                label=t("summarize.result"), lines=10, max_lines=24, interactive=False, buttons=["copy"],
                elem_id="summarize-result",
            )  # fmt: skip
            status, notes = outcome("summarize")
    options = settings(page, "summarize", TASK)
    examples(page, "summarize", [text, length])

    parts = Controls(run, stop, status, notes)

    def handler(
        request: gr.Request, text: str, length: str, focus: str | None, language: str | None,
        max_new_tokens: float, temperature: float, top_p: float, seed: str,
    ) -> Iterator[list[Any]]:  # fmt: skip
        def fields() -> dict[str, Any]:
            chosen = settings_fields(max_new_tokens, temperature, top_p, seed)
            return {**request_fields(text, length, focus, language), **chosen}

        yield from respond(page, TASK, fields, request.session_hash, parts)

    inputs = [text, length, focus, language, *options]
    wire(
        page, handler, triggers=[run.click], inputs=inputs, outputs=[result],
        parts=parts, validator=required(page, len(inputs)), api_name="summarize",
    )  # fmt: skip
    wire_stop(page, stop, TASK)
