"""The page Code."""

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
    toasts,
    wire,
    wire_stop,
)
from apps.web.session import runs_code

__all__ = ["build", "execute", "request_fields"]

TASK = "code_generation"


def request_fields(instruction: str, signature: str | None, tests: str | None, repair: float = 0) -> dict[str, Any]:
    """The form as fields of a code request; what was left open is left out."""
    rounds = {"repair": int(repair)} if repair else {}
    return {"instruction": instruction, **given(signature=signature, tests=tests), **rounds}


def execute(page: Page, code: str) -> str:
    """What a program writes when it is run in the sandbox, and how it ended."""
    from eval.sandbox import run

    outcome = run(code)
    ending = page.t(f"write_code.ended.{outcome.status}", seconds=f"{outcome.seconds:.1f}")
    return f"{outcome.output.rstrip()}\n\n{ending}".lstrip()


def build(page: Page) -> None:
    """Lay the page out and connect it."""
    import gradio as gr

    t = page.t
    limits(page, "write_code")
    with gr.Row():
        with gr.Column():
            instruction = gr.Textbox(
                label=t("write_code.instruction"), lines=6, max_lines=16, elem_id="write_code-instruction"
            )
            signature = gr.Textbox(
                "", label=t("write_code.signature"), placeholder="def total(numbers: list[int]) -> int:",
                elem_id="write_code-signature",
            )  # fmt: skip
            run, stop = buttons(page, "write_code")
        with gr.Column():
            result = gr.Code(
                label=t("write_code.result"), language="python", lines=12, max_lines=30, interactive=False,
                wrap_lines=True, buttons=["copy"], elem_id="write_code-result",
            )  # fmt: skip
            status, notes = outcome("write_code")
            if runs_code():
                start = gr.Button(page.t("write_code.execute"), size="sm", elem_id="write_code-execute")
                output = gr.Textbox(
                    label=t("write_code.output"), lines=2, max_lines=16, interactive=False, visible=False,
                    elem_id="write_code-output",
                )  # fmt: skip

                def executed(code: str) -> Any:
                    with toasts(page):
                        return gr.Textbox(execute(page, code), visible=True)

                start.click(
                    executed, result, output, concurrency_id="sandbox", concurrency_limit=2, api_visibility="private"
                )
    with gr.Accordion(t("write_code.more"), open=False, elem_id="write_code-more"):
        tests = gr.Code(
            "", label=t("write_code.tests"), language="python", lines=3, max_lines=12, elem_id="write_code-tests"
        )
        repair = gr.Slider(
            0, 5, value=0, step=1, label=t("write_code.repair"), info=t("write_code.repair_info"),
            elem_id="write_code-repair",
        )  # fmt: skip
    options = settings(page, "write_code", TASK)
    examples(page, "write_code", [instruction, signature])

    parts = Controls(run, stop, status, notes)

    def handler(
        request: gr.Request, instruction: str, signature: str | None, tests: str | None, repair: float,
        max_new_tokens: float, temperature: float, top_p: float, seed: str,
    ) -> Iterator[list[Any]]:  # fmt: skip
        def fields() -> dict[str, Any]:
            chosen = settings_fields(max_new_tokens, temperature, top_p, seed)
            return {**request_fields(instruction, signature, tests, repair), **chosen}

        yield from respond(page, TASK, fields, request.session_hash, parts)

    inputs = [instruction, signature, tests, repair, *options]
    wire(
        page, handler, triggers=[run.click], inputs=inputs, outputs=[result],
        parts=parts, validator=required(page, len(inputs)), api_name="write_code",
    )  # fmt: skip
    wire_stop(page, stop, TASK)
