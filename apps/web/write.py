"""The page Write: poems, stories, letters, in several versions where wanted."""

from collections.abc import Iterator
from typing import Any

from apps.web.answer import Moment, Page
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

__all__ = ["FORMS", "LENGTHS", "build", "request_fields", "versions"]

TASK = "creative_writing"
FORMS = ("poem", "haiku", "story", "script", "song", "letter", "email", "free")
LENGTHS = ("short", "medium", "long")
MAX_VERSIONS = 4


def request_fields(
    brief: str, form: str, tone: str | None, length: str | None, language: str | None, variants: float
) -> dict[str, Any]:
    """The form as fields of a writing request; what was left open is left out."""
    fields = {"brief": brief, "form": form, "variants": int(variants)}
    return {**fields, **given(tone=tone, length=length, language=language)}


def versions(moment: Moment) -> list[str]:
    """The text, then the other versions: always MAX_VERSIONS values, "" where there is none."""
    others = moment.generation.variants[1:] if moment.generation else []
    return [moment.text, *others, *[""] * MAX_VERSIONS][:MAX_VERSIONS]


def build(page: Page) -> None:
    """Lay the page out and connect it."""
    import gradio as gr

    t = page.t
    lengths = [(t("write.any_length"), ""), *((t(f"write.length.{name}"), name) for name in LENGTHS)]
    limits(page, "write")
    with gr.Row():
        with gr.Column():
            brief = gr.Textbox(label=t("write.brief"), lines=4, max_lines=12, elem_id="write-brief")
            form = gr.Radio(
                [(t(f"write.form.{name}"), name) for name in FORMS], value="poem", label=t("write.form"),
                elem_id="write-form",
            )  # fmt: skip
            with gr.Row():
                tone = gr.Textbox(
                    "", label=t("write.tone"), placeholder=t("write.tone_hint"), min_width=140, elem_id="write-tone"
                )
                length = gr.Dropdown(
                    lengths, value="", label=t("write.length"),
                    min_width=140, elem_id="write-length",
                )  # fmt: skip
            run, stop = buttons(page, "write")
        with gr.Column():
            result = gr.Textbox(
                label=t("write.result"), lines=12, max_lines=30, interactive=False, buttons=["copy"],
                elem_id="write-result",
            )  # fmt: skip
            others = [
                gr.Textbox(
                    label=t("write.version", number=number), lines=3, max_lines=30, interactive=False,
                    buttons=["copy"], visible=False, elem_id=f"write-version-{number}",
                )
                for number in range(2, MAX_VERSIONS + 1)
            ]  # fmt: skip
            status, notes = outcome("write")
    with gr.Accordion(t("write.more"), open=False, elem_id="write-more"), gr.Row():
        language = gr.Dropdown(
            languages(page), value="zh-Hans" if t.language == "zh" else "en", label=t("write.language"), min_width=160,
            elem_id="write-language",
        )  # fmt: skip
        variants = gr.Slider(
            1, MAX_VERSIONS, value=1, step=1, label=t("write.variants"), info=t("write.variants_info"),
            elem_id="write-variants",
        )  # fmt: skip
    options = settings(page, "write", TASK)
    examples(page, "write", [brief, form, language])

    def show(moment: Moment) -> list[Any]:
        first, *rest = versions(moment)
        return [first, *(gr.Textbox(value=text, visible=bool(text)) for text in rest)]

    parts = Controls(run, stop, status, notes)

    def handler(
        request: gr.Request, brief: str, form: str, tone: str | None, length: str | None, language: str | None,
        variants: float,
        max_new_tokens: float, temperature: float, top_p: float, seed: str,
    ) -> Iterator[list[Any]]:  # fmt: skip
        def fields() -> dict[str, Any]:
            chosen = settings_fields(max_new_tokens, temperature, top_p, seed)
            return {**request_fields(brief, form, tone, length, language, variants), **chosen}

        yield from respond(page, TASK, fields, request.session_hash, parts, show)

    inputs = [brief, form, tone, length, language, variants, *options]
    wire(
        page, handler, triggers=[run.click], inputs=inputs, outputs=[result, *others],
        parts=parts, validator=required(page, len(inputs)), api_name="write",
    )  # fmt: skip
    wire_stop(page, stop, TASK)
