"""The page Chat, made of single components: ``gr.ChatInterface`` stays locked when its function raises."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from apps.web import history
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
from apps.web.strings import Strings
from pipelines.engines.base import Message
from pipelines.errors import InputError
from pipelines.generation import Generation
from pipelines.text.conversation import export_conversation, import_conversation

__all__ = [
    "build",
    "context_line",
    "edited",
    "export_file",
    "import_file",
    "question_back",
    "request_fields",
    "shown",
    "stored",
    "turns",
    "without_last_exchange",
]

TASK = "dialogue"

# The browser makes the file itself, so that no conversation is ever written to the server's disk.
_DOWNLOAD = """(text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/plain"}));
  link.download = text.startsWith("{") ? "conversation.json" : "conversation.md";
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


def edited(conversation: list[Message], place: int, text: str) -> tuple[list[Message], str]:
    """The conversation before a question that was written anew, and the question as it is now: a new branch.

    Args:
        conversation: The whole one.
        place: The turn that was changed.
        text: What it says now.
    """
    if 0 <= place < len(conversation) and conversation[place]["role"] == "user":
        return conversation[:place], text
    return conversation, ""


def context_line(generation: Generation, length: int, t: Strings) -> str:
    """How full the model's context is after a reply; when it is full, the oldest turns are left out."""
    used = generation.usage.prompt_tokens + generation.usage.completion_tokens
    return t("chat.context", used=f"{used:,}", length=f"{length:,}", share=f"{min(1.0, used / length):.0%}")


def export_file(conversation: list[Message], system: str | None, persona: str | None, form: str = "json") -> str:
    """The conversation as the text of a file, with what the model was told before it as its system message."""
    from pipelines.prompts import load_prompt

    told = (system or "").strip()
    if not told and (persona or "").strip():
        told = load_prompt(TASK).render("system", {"persona": persona})
    return export_conversation([*([{"role": "system", "content": told}] if told else []), *conversation], form)


def import_file(content: bytes) -> tuple[list[Message], str, str, str]:
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


def stored() -> Any:
    """What the browser keeps of the chat.

    It must stand outside of the tabs: one that is not open yet is not there yet, and would begin with nothing.
    """
    import gradio as gr

    # Both names are needed, or what is stored vanishes when the server starts anew; the secret hides nothing.
    return gr.BrowserState(history.EMPTY, storage_key="cinquain-chat", secret="cinquain")


def build(page: Page) -> None:
    """Lay the page out and connect it."""
    import gradio as gr

    t = page.t
    limits(page, "chat")
    # Both names are needed, or what is stored vanishes when the server starts anew; the secret hides nothing.
    store = gr.BrowserState(history.EMPTY, storage_key="cinquain-chat", secret="cinquain")
    chatbot = gr.Chatbot(
        [], label=t("chat.conversation"), height=360, placeholder=t("chat.empty"), sanitize_html=True, allow_tags=False,
        buttons=["copy"], editable="user", elem_id="chat-conversation",
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
        retry, undo, clear, export, export_markdown = (
            gr.Button(t(f"chat.{name}"), size="sm", min_width=80, elem_id=f"chat-{name}")
            for name in ("retry", "undo", "clear", "export", "markdown")
        )
        upload = gr.UploadButton(
            t("chat.import"), type="binary", file_types=[".json", ".md"], size="sm", min_width=80, elem_id="chat-import"
        )
    earlier = gr.Dropdown(
        [], value=None, label=t("chat.earlier"), info=t("chat.earlier_info"), visible=False, elem_id="chat-earlier"
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

        yield from respond(page, TASK, fields, visitor, parts, lambda moment: shown(conversation, moment), _full(page))

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

    def export_text(history: list[dict[str, Any]] | None, system: str | None, persona: str | None, form: str) -> str:
        with toasts(page):
            return export_file(turns(history), system, persona, form)

    def load(content: bytes) -> tuple[list[Message], str, str, str]:
        with toasts(page):
            return import_file(content)

    def listed(store: Any) -> Any:
        found = history.titles(store)
        return gr.Dropdown(choices=found, value=None, visible=bool(found))

    def restore(store: Any, seen: bool) -> tuple[Any, ...]:
        return (gr.skip(), gr.skip(), True) if seen else (history.now(store), listed(store), True)

    def branch(event: gr.EditData, shown: list[dict[str, Any]] | None, store: Any) -> tuple[Any, ...]:
        place = event.index if isinstance(event.index, int) else event.index[0]
        before, question = edited(turns(shown), place, str(event.value))
        return before, question, history.begun(store, before)

    inputs = [message, chatbot, system, persona, *options]
    outputs = [chatbot, message]
    sent = wire(
        page, send, triggers=[run.click, message.submit], inputs=inputs, outputs=outputs, parts=parts,
        validator=required(page, len(inputs)), api_name="chat",
    )  # fmt: skip
    resent = wire(page, send_again, triggers=[retry.click], inputs=inputs[1:], outputs=outputs, parts=parts)

    def keep(shown: list[dict[str, Any]] | None, store: Any) -> dict[str, Any]:
        return history.kept(store, turns(shown))

    for event in (sent, resent):
        event.failure(lambda history, text: question_back(turns(history), text), [chatbot, message], outputs, **QUIET)
        event.success(keep, [chatbot, store], store, **QUIET)
    wire_stop(page, stop, TASK)
    undo.click(lambda history: without_last_exchange(turns(history)), chatbot, outputs, **QUIET).success(
        keep, [chatbot, store], store, **QUIET
    )
    chatbot.edit(branch, [chatbot, store], [*outputs, store], **QUIET).success(listed, store, earlier, **QUIET)
    clear.click(
        lambda store: ([], "", "", "", history.begun(store)), store, [*outputs, status, notes, store], **QUIET
    ).success(listed, store, earlier, **QUIET)
    for button, form in ((export, "json"), (export_markdown, "markdown")):
        button.click(partial(export_text, form=form), [chatbot, system, persona], exported, **QUIET).success(
            None, exported, None, js=_DOWNLOAD, api_visibility="private"
        )
    upload.upload(load, upload, [chatbot, message, system, persona], **QUIET).success(
        lambda shown, store: history.begun(store, turns(shown)), [chatbot, store], store, **QUIET
    ).success(listed, store, earlier, **QUIET)
    earlier.input(
        lambda place, store: (after := history.recalled(store, -1 if place is None else place), history.now(after), ""),
        [earlier, store], [store, *outputs], **QUIET,
    ).success(listed, store, earlier, **QUIET)  # fmt: skip
    seen = gr.State(False)
    # The browser reads its storage after the page has loaded, and tells of it as of a change.
    store.change(restore, [store, seen], [chatbot, earlier, seen], **QUIET)


def _full(page: Page) -> Callable[[Generation], str]:
    """What is said of the context after a reply."""

    def line(generation: Generation) -> str:
        return context_line(generation, page.session.pipeline(TASK).engine.context_length, page.t)

    return line
