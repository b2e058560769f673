"""The page Translate."""

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
from pipelines.errors import InputError

__all__ = ["build", "languages", "parse_glossary", "request_fields"]

TASK = "translation"


def parse_glossary(lines: str | None) -> dict[str, str]:
    """Read one ``term = translation`` a line; blank lines are skipped.

    Raises:
        InputError: A line without an equals sign, or with nothing on one side of it.
    """
    glossary: dict[str, str] = {}
    for number, line in enumerate((lines or "").splitlines(), start=1):
        if not line.strip():
            continue
        term, equals, translation = (part.strip() for part in line.partition("="))
        if not (term and equals and translation):
            raise InputError("web_glossary_line", number=number, found=line.strip()[:60])
        glossary[term] = translation
    return glossary


def request_fields(text: str, source: str, target: str, formality: str | None, glossary: str | None) -> dict[str, Any]:
    """The form as fields of a translation request; what was left open is left out."""
    fields: dict[str, Any] = {"text": text, "source": source, "target": target, **given(formality=formality)}
    if terms := parse_glossary(glossary):
        fields["glossary"] = terms
    return fields


def languages(page: Page) -> list[tuple[str, str]]:
    """Choices of a language dropdown: the name in the page's language, then the tag."""
    from pipelines.text.languages import LANGUAGES, language_name

    return sorted((language_name(tag, page.t.language), tag) for tag in LANGUAGES)


def build(page: Page) -> None:
    """Lay the page out and connect it."""
    import gradio as gr

    t, known = page.t, languages(page)
    limits(page, "translate")
    with gr.Row():
        with gr.Column():
            text = gr.Textbox(label=t("translate.text"), lines=8, max_lines=16, elem_id="translate-text")
            with gr.Row():
                source = gr.Dropdown(
                    [(t("translate.auto"), "auto"), *known], value="auto", label=t("translate.source"),
                    min_width=140, allow_custom_value=True, elem_id="translate-source",
                )  # fmt: skip
                target = gr.Dropdown(
                    known, value="en" if t.language == "zh" else "fr", label=t("translate.target"),
                    min_width=140, allow_custom_value=True, elem_id="translate-target",
                )  # fmt: skip
            run, stop = buttons(page, "translate")
        with gr.Column():
            result = gr.Textbox(
                label=t("translate.result"), lines=8, max_lines=24, interactive=False, buttons=["copy"],
                elem_id="translate-result",
            )  # fmt: skip
            status, notes = outcome("translate")
    with gr.Accordion(t("translate.more"), open=False, elem_id="translate-more"):
        formality = gr.Radio(
            [(t("translate.formality.default"), "default"), (t("translate.formality.formal"), "formal"),
             (t("translate.formality.informal"), "informal")],
            value="default", label=t("translate.formality"), elem_id="translate-formality",
        )  # fmt: skip
        glossary = gr.Textbox(
            "", label=t("translate.glossary"), info=t("translate.glossary_info"), lines=3, elem_id="translate-glossary"
        )
    options = settings(page, "translate", TASK)
    examples(page, "translate", [text, target])

    parts = Controls(run, stop, status, notes)

    def handler(
        request: gr.Request, text: str, source: str, target: str, formality: str | None, glossary: str | None,
        max_new_tokens: float, temperature: float, top_p: float, seed: str,
    ) -> Iterator[list[Any]]:  # fmt: skip
        def fields() -> dict[str, Any]:
            chosen = settings_fields(max_new_tokens, temperature, top_p, seed)
            return {**request_fields(text, source, target, formality, glossary), **chosen}

        yield from respond(page, TASK, fields, request.session_hash, parts)

    inputs = [text, source, target, formality, glossary, *options]
    wire(
        page, handler, triggers=[run.click], inputs=inputs, outputs=[result],
        parts=parts, validator=required(page, len(inputs)), api_name="translate",
    )  # fmt: skip
    wire_stop(page, stop, TASK)
