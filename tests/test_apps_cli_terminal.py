"""What every subcommand relies on: clean text, languages, Ctrl-C, files that appear at once."""

import json
import os
import re
import signal
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.cli import terminal
from apps.cli.terminal import Sanitizer, check_writable, interruptible, sanitize, to_json
from pipelines.errors import InputError

OBEYED_BY_TERMINALS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

# Mostly the characters that sequences are made of: random Unicode would almost never form one.
hostile = st.text(
    st.one_of(st.sampled_from("\x1b\x9b\x9d\x9c\x90\x07[]\\;0123mPX^_?! \n\tabA\r\u202e\u2066中"), st.characters())
)


@given(hostile)
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    assert not OBEYED_BY_TERMINALS.search(sanitize(text))


@given(
    st.text(
        st.characters(
            exclude_categories=["Cc"], exclude_characters="\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        )
    )
)
def test_text_without_controls_stays_as_it_is(text: str) -> None:
    assert sanitize(text + "\n\t") == text + "\n\t"


@given(hostile, st.data())
def test_pieces_give_what_the_whole_gives(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    bounds = [0, *cuts, len(text)]
    sanitizer = Sanitizer()
    shown = "".join(sanitizer.feed(text[start:end]) for start, end in pairwise(bounds))
    shown += sanitizer.close()
    assert shown == sanitize(text)
    assert sanitizer.removed == len(text) - len(shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("a\x1b]0;new title\x07b", "ab"),
        ("a\x1b]8;;http://x.example\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x1bP1$r0m\x9cb", "ab"),
        ("a\x1b(Bb", "ab"),
        ("a\x1bcb", "ab"),
        ("one\r\ntwo\x08\x7f", "one\ntwo"),
        ("safe\u202egnp.exe", "safegnp.exe"),
        ("\x1b[", ""),
        ("no end \x1b]0;title", "no end 0;title"),
    ],
)
def test_sequences_disappear_and_text_stays(text: str, shown: str) -> None:
    assert sanitize(text) == shown


def test_an_unfinished_sequence_does_not_swallow_the_reply() -> None:
    reply = "\x1b]" + "word " * 200
    assert sanitize(reply).count("word") == 200
    sanitizer = Sanitizer()
    assert "word" in "".join(sanitizer.feed(letter) for letter in reply)


def test_sanitizing_a_long_hostile_text_takes_no_more_than_a_moment() -> None:
    assert "x" in sanitize("\x1b]x" * 200_000)
    assert sanitize("\x1b[" * 200_000) == ""


def test_json_is_exact_and_still_harmless() -> None:
    data = {"text": "中\x1b[31m\x9b\u202e\x7f\ud800"}
    assert not OBEYED_BY_TERMINALS.search(to_json(data))
    assert json.loads(to_json(data)) == data
    assert "中" in to_json(data)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "en_US.UTF-8"}, "en"),
        ({"LC_ALL": "", "LANG": "zh_TW"}, "zh"),
        ({"LANG": "C"}, "en"),
        ({}, "en"),
    ],
)
def test_the_language_follows_the_locale(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    terminal.use_language("")
    assert terminal.language() == expected
    terminal.use_language("zh-CN")
    assert terminal.language() == "zh"
    terminal.use_language("")


def test_the_first_interrupt_asks_and_the_second_insists() -> None:
    cancel = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    with interruptible(cancel):
        os.kill(os.getpid(), signal.SIGINT)
        assert cancel.wait(5)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_may_use_it_too() -> None:
    outcome: list[bool] = []

    def work() -> None:
        with interruptible(threading.Event()):
            outcome.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert outcome == [True]


@pytest.mark.parametrize(("name", "code"), [("", "cli_output_is_folder"), ("a/b.txt", "cli_output_folder_missing")])
def test_a_result_that_cannot_be_written_is_known_before(name: str, code: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        check_writable(tmp_path / name)
    assert caught.value.code == code


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_device_or_pipe_is_never_replaced_by_a_file(kind: str, tmp_path: Path) -> None:
    path = Path(os.devnull)
    if kind == "pipe":
        os.mkfifo(path := tmp_path / "pipe")
    with pytest.raises(InputError) as caught:
        check_writable(path)
    assert caught.value.code == "cli_output_not_file"
