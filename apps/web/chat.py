"""The page Chat, made of single components: ``gr.ChatInterface`` stays locked when its function raises."""

from collections.abc import Iterator, Sequence
from typing import Any

from apps.web.answer import Moment, Page
from apps.web.common import (
    QUIET,
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
from pipelines.engines.base import Message
from pipelines.errors import InputError
from pipelines.text.conversation import export_conversation, import_conversation

__all__ = [
    "build",
    "export_json",
    "import_json",
    "question_back",
    "request_fields",
    "shown",
    "turns",
    "without_last_exchange",
]

TASK = "dialogue"

# The browser makes the file itself, so that no conversation is ever written to the server's disk.
_DOWNLOAD = """(text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "application/json"}));
  link.download = "conversation.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}"""


def turns(history: Sequence[dict[str, Any]] | None) -> list[Message]:
    """The conversation in Gradio's form (content in blocks) as plain turns of user and assistant."""
    plain: list[Message] = []
    for message in history or []:
        content = message["content"]
        if not isinstance(content, str):
            content = "".join(block["text"] for block in content if block.get("type") == "text")
        if message["role"] in ("user", "assistant"):
            plain.append({"role": message["role"], "content": content})
    return plain


def shown(conversation: list[Message], moment: Moment) -> tuple[list[Message], str]:
    """The conversation with the reply as far as it has come, and what belongs into the message box."""
    if moment.text:
        return [*conversation, {"role": "assistant", "content": moment.text}], ""
    return (conversation, "") if moment.generation is None else question_back(conversation, "")


def question_back(conversation: list[Message], message: str | None) -> tuple[list[Message], str]:
    """Where the last turn has no reply (stopped at once, an error), take it back into the message box."""
    if conversation and conversation[-1]["role"] == "user":
        return conversation[:-1], conversation[-1]["content"]
    return conversation, message or ""


def without_last_exchange(conversation: list[Message]) -> tuple[list[Message], str]:
    """The conversation up to its last question, and that question ("" where there was none)."""
    for index in range(len(conversation) - 1, -1, -1):
        if conversation[index]["role"] == "user":
            return conversation[:index], conversation[index]["content"]
    return conversation, ""


def request_fields(conversation: list[Message], system: str | None, persona: str | None) -> dict[str, Any]:
    """A conversation as fields of a dialogue request; what was left open is left out."""
    return {"messages": conversation, **given(system=system, persona=persona)}


def export_json(conversation: list[Message], system: str | None, persona: str | None) -> str:
    """The conversation as the text of a file, with what the model was told before it as its system message."""
    from pipelines.prompts import load_prompt

    told = (system or "").strip()
    if not told and (persona or "").strip():
        told = load_prompt(TASK).render("system", {"persona": persona})
    return export_conversation([*([{"role": "system", "content": told}] if told else []), *conversation])


def import_json(content: bytes) -> tuple[list[Message], str, str, str]:
    """Read an exported conversation.

    Returns:
        Its turns, the question that has no reply yet, the system message, and the persona, which is empty.

    Raises:
        InputError: Not such a file.
    """
    messages = import_conversation(content.decode("utf-8", errors="replace"))
    system = messages.pop(0)["content"] if messages and messages[0]["role"] == "system" else ""
    conversation, question = question_back(messages, "")
    return conversation, question, system, ""


def build(page: Page) -> None:
    """Lay the page out and connect it."""
    import gradio as gr

    t = page.t
    limits(page, "chat")
    chatbot = gr.Chatbot(
        [], label=t("chat.conversation"), height=360, placeholder=t("chat.empty"), sanitize_html=True, allow_tags=False,
        buttons=["copy"], elem_id="chat-conversation",
    )  # fmt: skip
    status, notes = outcome("chat")
    with gr.Row(equal_height=True):
        with gr.Column(scale=5, min_width=240):
            message = gr.Textbox(
                label=t("chat.message"), placeholder=t("chat.message_hint"), lines=1, max_lines=8,
                elem_id="chat-message",
            )  # fmt: skip
        with gr.Column(scale=1, min_width=140, elem_classes="send"):
            run, stop = buttons(page, "chat")
    with gr.Row():
        retry, undo, clear = (
            gr.Button(t(f"chat.{name}"), size="sm", min_width=80, elem_id=f"chat-{name}")
            for name in ("retry", "undo", "clear")
        )
        export = gr.Button(t("chat.export"), size="sm", min_width=80, elem_id="chat-export")
        upload = gr.UploadButton(
            t("chat.import"), type="binary", file_types=[".json"], size="sm", min_width=80, elem_id="chat-import"
        )
    with gr.Accordion(t("chat.more"), open=False, elem_id="chat-more"):
        persona = gr.Textbox("", label=t("chat.persona"), placeholder=t("chat.persona_hint"), elem_id="chat-persona")
        system = gr.Textbox("", label=t("chat.system"), info=t("chat.system_info"), lines=2, elem_id="chat-system")
    options = settings(page, "chat", TASK)
    examples(page, "chat", [message])
    exported = gr.Textbox(visible="hidden", elem_id="chat-exported")
    parts = Controls(run, stop, status, notes, (retry, undo, clear))

    def converse(
        conversation: list[Message], system: str | None, persona: str | None, chosen: Sequence[Any], visitor: str | None
    ) -> Iterator[list[Any]]:
        def fields() -> dict[str, Any]:
            return {**request_fields(conversation, system, persona), **settings_fields(*chosen)}

        yield from respond(page, TASK, fields, visitor, parts, lambda moment: shown(conversation, moment))

    def send(
        request: gr.Request, message: str, history: list[dict[str, Any]] | None,
        system: str | None, persona: str | None,
        max_new_tokens: float, temperature: float, top_p: float, seed: str,
    ) -> Iterator[list[Any]]:  # fmt: skip
        conversation: list[Message] = [*turns(history), {"role": "user", "content": message}]
        chosen = (max_new_tokens, temperature, top_p, seed)
        yield from converse(conversation, system, persona, chosen, request.session_hash)

    def send_again(
        request: gr.Request, history: list[dict[str, Any]] | None, system: str | None, persona: str | None,
        max_new_tokens: float, temperature: float, top_p: float, seed: str,
    ) -> Iterator[list[Any]]:  # fmt: skip
        before, question = without_last_exchange(turns(history))
        with toasts(page):
            if not question:
                raise InputError("web_chat_nothing_to_retry")
        conversation: list[Message] = [*before, {"role": "user", "content": question}]
        chosen = (max_new_tokens, temperature, top_p, seed)
        yield from converse(conversation, system, persona, chosen, request.session_hash)

    def export_text(history: list[dict[str, Any]] | None, system: str | None, persona: str | None) -> str:
        with toasts(page):
            return export_json(turns(history), system, persona)

    def load(content: bytes) -> tuple[list[Message], str, str, str]:
        with toasts(page):
            return import_json(content)

    inputs = [message, chatbot, system, persona, *options]
    outputs = [chatbot, message]
    sent = wire(
        page, send, triggers=[run.click, message.submit], inputs=inputs, outputs=outputs, parts=parts,
        validator=required(page, len(inputs)), api_name="chat",
    )  # fmt: skip
    resent = wire(page, send_again, triggers=[retry.click], inputs=inputs[1:], outputs=outputs, parts=parts)
    for event in (sent, resent):
        event.failure(lambda history, text: question_back(turns(history), text), [chatbot, message], outputs, **QUIET)
    wire_stop(page, TASK, stop)
    undo.click(lambda history: without_last_exchange(turns(history)), chatbot, outputs, **QUIET)
    clear.click(lambda: ([], "", "", ""), None, [*outputs, status, notes], **QUIET)
    export.click(export_text, [chatbot, system, persona], exported, **QUIET).success(
        None, exported, None, js=_DOWNLOAD, api_visibility="private"
    )
    upload.upload(load, upload, [chatbot, message, system, persona], **QUIET)
