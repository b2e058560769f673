"""The terminal chat: its commands on a pipe, and Ctrl-C at a real pseudo-terminal."""

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apps.cli.chat import Conversation
from apps.cli.main import main
from pipelines import TASKS, Pipeline, load_prompt
from pipelines.engines.scripted import ScriptedEngine
from pipelines.errors import InputError


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(["First reply.", "Second reply.", "Third reply.", "Fourth reply."])


@pytest.fixture
def conversation(engine: ScriptedEngine) -> Conversation:
    return Conversation(Pipeline(TASKS["dialogue"](), engine, load_prompt("dialogue")), {"temperature": 0.0})


def texts(conversation: Conversation) -> list[str]:
    return [message["content"] for message in conversation.messages]


def test_turns_are_remembered_and_sent_again(conversation: Conversation, engine: ScriptedEngine) -> None:
    conversation.take("Hello.")
    conversation.take("And now?")
    assert texts(conversation) == ["Hello.", "First reply.", "And now?", "Second reply."]
    sent = [message["content"] for message in engine.calls[-1].messages if message["role"] != "system"]
    assert sent == ["Hello.", "First reply.", "And now?"]


def test_undo_retry_and_clear(conversation: Conversation) -> None:
    conversation.take("Hello.")
    conversation.take("And now?")
    conversation.take("/retry")
    assert texts(conversation) == ["Hello.", "First reply.", "And now?", "Third reply."]
    conversation.take("/undo")
    assert texts(conversation) == ["Hello.", "First reply."]
    conversation.take("/clear")
    assert texts(conversation) == []
    for command in ("/undo", "/retry"):
        with pytest.raises(InputError, match="nothing to take back"):
            conversation.take(command)


def test_the_system_message_is_sent_shown_and_removed(
    conversation: Conversation, engine: ScriptedEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    conversation.take("/system Answer like a pirate.")
    conversation.take("Hello.")
    assert engine.calls[-1].messages[0] == {"role": "system", "content": "Answer like a pirate."}
    conversation.take("/system")
    assert "pirate" in capsys.readouterr().err
    conversation.take("/system -")
    assert conversation.system == ""


@pytest.mark.parametrize("name", ["talk.json", "talk.md"])
def test_a_saved_conversation_is_continued(conversation: Conversation, name: str, tmp_path: Path) -> None:
    conversation.take("/system Be brief.")
    conversation.take("Hello.")
    before = texts(conversation)
    path = tmp_path / name
    conversation.take(f"/save {path}")
    conversation.take(f"/save {path}")  # its own file may be written again
    conversation.take("/clear")
    conversation.take("/system -")
    conversation.take(f"/load {path}")
    assert texts(conversation) == before
    assert conversation.system == "Be brief."
    assert path.stat().st_mode & 0o077 == 0


def test_files_of_others_are_safe(conversation: Conversation, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(InputError, match="nothing to save"):
        conversation.take(f"/save {tmp_path / 'new.json'}")
    conversation.take("Hello.")
    before = texts(conversation)
    for line, word in (
        (f"/save {tmp_path / 'mine.json'}", "exists"),
        (f"/load {tmp_path / 'mine.json'}", "onversation"),
        (f"/load {tmp_path / 'gone.json'}", "no file"),
        ("/save", "FILE"),
        ("/sav x", "/save"),
        (f"/save {tmp_path / 'no' / 'x.json'}", "mkdir"),
    ):
        with pytest.raises(InputError, match=re.escape(word)):
            conversation.take(line)
    assert (tmp_path / "mine.json").read_text() == "{}"
    assert texts(conversation) == before


def test_quit_and_blank_lines(conversation: Conversation, engine: ScriptedEngine) -> None:
    assert conversation.take("   ") is None
    assert conversation.take("/quit") == "quit"
    assert engine.calls == []
    conversation.take(" /quit is a word here")
    assert texts(conversation)[0] == "/quit is a word here"


def test_a_failed_message_leaves_the_conversation_as_it_was(conversation: Conversation, engine: ScriptedEngine) -> None:
    conversation.take("Hello.")
    before = texts(conversation)
    engine.context_length = 8
    with pytest.raises(InputError):
        conversation.take("A much longer message than this model can read at once, whatever one does about it.")
    with pytest.raises(InputError):
        conversation.take("/retry")
    assert texts(conversation) == before


def test_replies_go_to_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello\\\nthere\n\n/undo\nAgain\n/quit\nnever\n"))
    assert main(["chat", "--model", "scripted"]) == 0
    output = capsys.readouterr()
    assert output.out == "You said: Hello\nthere\nYou said: Again\n"
    assert "tokens/s" not in output.err


def test_an_error_ends_a_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("/load gone.json\nHello\n"))
    assert main(["chat", "--model", "scripted"]) == 2
    assert "gone.json" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--temperature", "-1"], ["--load", "gone.json"], ["--model", "no-such-model"]])
def test_wrong_options(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--model", "scripted", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


PROGRAM = """
import sys
from pipelines import engines
from pipelines.engines.scripted import ScriptedEngine
engines.load_engine = lambda *_, **__: ScriptedEngine(["word " * 1000000, "Still here."])
from apps.cli.main import main
sys.exit(main(["chat", "--max-new-tokens", "32768", "--temperature", "0"]))
"""


class Terminal:
    """A program at a pseudo-terminal."""

    def __init__(self, program: str, folder: Path) -> None:
        self.keyboard, other = pty.openpty()
        search = os.pathsep.join(["", *filter(None, sys.path)])
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=other, stdout=other, stderr=other, cwd=folder, start_new_session=True,
            env={**os.environ, "PYTHONPATH": search, "TERM": "xterm", "LC_ALL": "C.UTF-8"},
            preexec_fn=lambda: take_terminal(other),
        )  # fmt: skip
        os.close(other)
        self.shown = ""
        self._seen = 0

    def until(self, text: str, *, typing: str = "") -> None:
        """Read until the text has been shown after what was waited for before, typing something once a second."""
        end = time.monotonic() + 60
        while (position := self.shown.find(text, self._seen)) < 0:
            assert time.monotonic() < end, self.shown[-2000:]
            if select.select([self.keyboard], [], [], 1)[0]:
                self.shown += os.read(self.keyboard, 4096).decode(errors="replace")
            else:
                self.type(typing)
        self._seen = position + len(text)

    def type(self, text: str) -> None:
        os.write(self.keyboard, text.encode())


def take_terminal(descriptor: int) -> None:
    """Make the pseudo-terminal the one that Ctrl-C is typed at (runs in the child)."""
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


def test_ctrl_c_stops_the_reply_and_not_the_program(tmp_path: Path) -> None:
    terminal = Terminal(PROGRAM, tmp_path)
    terminal.until("> ")
    terminal.type("Go on for ever\n")
    terminal.until("word word")
    terminal.type("\x03")
    terminal.until("[stopped")
    terminal.until("> ")
    # At the prompt it only clears the line. Python may miss one that comes before it waits for a key: press it again.
    terminal.until("Ctrl-D leaves", typing="\x03")
    terminal.until("> ")
    terminal.type("Are you there?\n")
    terminal.until("Still here.")
    terminal.until("> ")
    terminal.type(f"/save {tmp_path / 'talk.json'}\n")
    terminal.until("Saved 4 messages")
    terminal.until("> ")
    terminal.type("\x04")
    assert terminal.process.wait(timeout=60) == 0
    os.close(terminal.keyboard)
    assert "Traceback" not in terminal.shown
    messages = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert messages[1]["content"].startswith("word word")
    assert len(messages[1]["content"]) < 500_000
