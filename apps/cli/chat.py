"""``cinquain chat``: a conversation at the terminal."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps.cli.inputs import read_text
from apps.cli.run import Adapter, EngineOptions, Model, parse_engine_options, print_notes, stream_to_terminal
from apps.cli.terminal import Language, check_writable, console, sanitize, say

if TYPE_CHECKING:
    from pipelines import Pipeline
    from pipelines.engines import Message

__all__ = ["Conversation", "app"]

app = typer.Typer(add_completion=False)


@app.command()
def chat(
    model: Model = None,
    adapter: Adapter = None,
    engine: EngineOptions = None,
    system: Annotated[str | None, typer.Option("--system", help="Tell the model how to behave.")] = None,
    load: Annotated[Path | None, typer.Option("--load", help="Continue a saved conversation.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Most tokens of one reply.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest token each time.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same replies.")] = None,
    lang: Language = None,
) -> int:
    """Chat in the terminal: Ctrl-C stops a reply, Ctrl-D leaves."""
    from pipelines import DEFAULT_MODEL, pipeline
    from pipelines.errors import CinquainError
    from pipelines.generation import GenerationOptions
    from pipelines.requests import validate

    options = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    options = {name: value for name, value in options.items() if value is not None}
    validate(GenerationOptions, options, "dialogue")
    dialogue = pipeline("dialogue", model or DEFAULT_MODEL, adapter, **parse_engine_options(engine))
    conversation = Conversation(dialogue, options)
    conversation.system = (system or "").strip()
    if load:
        conversation.load(str(load))
    person = sys.stdin.isatty()
    if person:
        _prepare_line_editing()
        _tell(say("chat_welcome", model=model or DEFAULT_MODEL))
    while (line := _read_message(person)) is not None:
        try:
            if conversation.take(line) == "quit":
                break
        except CinquainError as error:
            if not person:  # a script must learn of it
                raise
            _tell(say(error))
    return 0


class Conversation:
    """What was said, and what a person may do with it.

    Attributes:
        messages: Turns of the person and the model, the first one the person's.
        system: How the model should behave, or "".
    """

    def __init__(self, pipeline: "Pipeline", options: dict[str, Any]) -> None:
        self.messages: list[Message] = []
        self.system = ""
        self._pipeline = pipeline
        self._options = options
        self._own_file: Path | None = None

    def take(self, line: str) -> str | None:
        """Act on one line: a command, or a message to the model. Returns "quit" when the person leaves.

        Raises:
            CinquainError: The command cannot be done; the conversation is as it was before.
        """
        if not line.strip():
            return None
        if line.startswith("/"):
            return self._command(line)
        self._ask(line.strip())
        return None

    def load(self, argument: str) -> None:
        """Continue the conversation of a file."""
        from pipelines.text.conversation import import_conversation

        path = _path(argument, "/load")
        text = read_text(None, path)
        assert text is not None
        messages = import_conversation(text)
        self.system = "\n".join(message["content"] for message in messages if message["role"] == "system")
        self.messages = [message for message in messages if message["role"] != "system"]
        self._own_file = path.resolve()
        _tell(say("chat_loaded", messages=len(self.messages), path=str(path)))

    def save(self, argument: str) -> None:
        """Write the conversation into a file: Markdown for ``.md``, else JSON."""
        from pipelines.errors import InputError
        from pipelines.home import write_atomically
        from pipelines.text.conversation import export_conversation

        path = _path(argument, "/save")
        if not self.messages:
            raise InputError("chat_nothing_to_save")
        check_writable(path)
        if path.exists() and path.resolve() != self._own_file:
            raise InputError("chat_file_exists", path=str(path))
        form = "markdown" if path.suffix.lower() in (".md", ".markdown") else "json"
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        write_atomically(path.resolve(), export_conversation([*system, *self.messages], form), private=True)
        self._own_file = path.resolve()
        _tell(say("chat_saved", messages=len(self.messages), path=str(path)))

    def set_system(self, argument: str) -> None:
        """Set, show or (``-``) remove the system message."""
        if argument:
            self.system = "" if argument == "-" else argument
        _tell(say("chat_system_is", text=self.system) if self.system else say("chat_system_none"))

    def undo(self, argument: str = "") -> None:
        """Take back the last message and its reply."""
        _tell(say("chat_undone", text=self._without_last_exchange()))

    def retry(self, argument: str = "") -> None:
        """Answer the last message again."""
        before = list(self.messages)
        text = self._without_last_exchange()
        try:
            self._ask(text)
        finally:
            if not self.messages or self.messages[-1]["role"] != "assistant":
                self.messages = before

    def clear(self, argument: str = "") -> None:
        """Forget what was said; the system message stays."""
        self.messages = []
        _tell(say("chat_cleared"))

    def _command(self, line: str) -> str | None:
        from pipelines.errors import InputError, nearest

        name, _, argument = line.partition(" ")
        actions: dict[str, Callable[[str], None]] = {
            "/save": self.save,
            "/load": self.load,
            "/system": self.set_system,
            "/undo": self.undo,
            "/retry": self.retry,
            "/clear": self.clear,
            "/help": lambda _: _tell(say("chat_help")),
        }
        if name.strip() == "/quit":
            return "quit"
        if name.strip() not in actions:
            raise InputError("chat_command_unknown", found=name, nearest=nearest(name, [*actions, "/quit"]))
        actions[name.strip()](argument.strip())
        return None

    def _ask(self, text: str) -> None:
        """Send a message and show the reply; a stopped reply is kept as far as it came."""
        question: Message = {"role": "user", "content": text}
        fields: dict[str, Any] = {"messages": [*self.messages, question], **self._options}
        if self.system:
            fields["system"] = self.system
        generation, removed = stream_to_terminal(self._pipeline, fields)
        stopped = generation.finish_reason == "cancelled"
        if generation.text.strip():
            self.messages += [question, {"role": "assistant", "content": generation.text}]
        if stopped:
            _tell(say("chat_reply_stopped" if generation.text.strip() else "chat_reply_none"))
        print_notes(generation, removed, speed=sys.stdout.isatty() and not stopped)

    def _without_last_exchange(self) -> str:
        """Remove the last message of the person and what follows it; returns its text."""
        from pipelines.errors import InputError

        for index in range(len(self.messages) - 1, -1, -1):
            if self.messages[index]["role"] == "user":
                text = self.messages[index]["content"]
                self.messages = self.messages[:index]
                return text
        raise InputError("chat_nothing_to_undo")


def _path(argument: str, command: str) -> Path:
    from pipelines.errors import InputError

    if not argument:
        raise InputError("chat_command_form", command=command)
    return Path(argument).expanduser()


def _read_message(person: bool) -> str | None:
    """The next message, its continued lines joined; None at the end (Ctrl-D)."""
    lines: list[str] = []
    while True:
        try:
            line = input(("... " if lines else "> ") if person else "")
        except EOFError:
            if person:
                _tell("")
            return "\n".join(lines) if lines else None
        except KeyboardInterrupt:
            if not person:
                raise
            lines = []
            _tell("\n" + say("chat_leave_hint"))
            continue
        lines.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            return "\n".join(lines)


def _prepare_line_editing() -> None:
    """Arrow keys and history of this session, where the system has readline. Nothing is written to the disk."""
    try:
        import readline
    except ImportError:  # Windows: its console edits lines by itself
        return
    readline.set_auto_history(True)


def _tell(text: str) -> None:
    console(stderr=True).print(sanitize(text), style="dim", soft_wrap=True)
