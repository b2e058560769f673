"""A request from a page, as plain Python on the scripted engine."""

import re
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from apps.web.answer import Page, answer, explained, notes_html, speed_line
from apps.web.session import Session
from apps.web.strings import Strings
from pipelines.engines.base import Engine
from pipelines.engines.scripted import ScriptedEngine
from pipelines.errors import CinquainError, InputError
from pipelines.generation import Generation, Note, Timing, Usage


def page_of(engine: Engine, language: str = "en") -> Page:
    return Page(Session(engine.reference, lambda: engine).start(), Strings(language))


def ask(text: str = "Tell me of the sea.") -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], "temperature": 0.0}


def test_the_moments_grow_into_the_result() -> None:
    moments = list(answer(page_of(ScriptedEngine(["The sea is wide."])), "dialogue", ask()))
    texts = [moment.text for moment in moments]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    last = moments[-1]
    assert last.generation is not None
    assert last.text == last.generation.text == "The sea is wide."
    assert last.status.startswith("5 tokens in ")
    assert all(moment.generation is None for moment in moments[:-1])


def test_a_stop_ends_within_one_token_and_says_so() -> None:
    engine = ScriptedEngine(["one two three four five six seven eight nine ten"], on_token=lambda: token())
    page, count = page_of(engine), 0

    def token() -> None:
        nonlocal count
        count += 1
        if count == 4:
            page.session.stop("someone else", "dialogue")
            page.session.stop("me", "translation")
        if count == 6:
            page.session.stop("me", "dialogue")

    *_, last = answer(page, "dialogue", ask(), "me")
    assert last.generation is not None
    assert last.generation.finish_reason == "cancelled"
    assert "not complete" in notes_html(last.generation, "en")
    assert count == 6
    *_, last = answer(page, "dialogue", ask("Again?"), "me")
    assert last.generation is not None
    assert last.generation.finish_reason == "stop"


def test_closing_the_iterator_stops_the_model_and_frees_it() -> None:
    started, ended = threading.Event(), threading.Event()

    class Watched(ScriptedEngine):
        def stream(self, call, cancel=None):  # type: ignore[no-untyped-def]
            try:
                yield from super().stream(call, cancel)
            finally:
                ended.set()

    release = threading.Event()

    def token() -> None:
        started.set()
        release.wait(10)

    engine = Watched(["word " * 1000], on_token=token)
    moments = answer(page_of(engine), "dialogue", ask())
    next(moments)
    assert started.wait(10)
    moments.close()
    release.set()
    assert ended.wait(10)
    *_, last = answer(page_of(engine), "dialogue", {**ask(), "max_new_tokens": 3})
    assert last.generation is not None
    assert last.generation.usage.completion_tokens == 3


def test_a_request_waits_for_the_model_and_can_be_stopped_while_it_waits() -> None:
    loaded = threading.Event()

    def load() -> Engine:
        loaded.wait(10)
        return ScriptedEngine(["Hello."])

    page = Page(Session("big-model", load).start(), Strings())
    waiting = answer(page, "dialogue", ask(), "me")
    assert "big-model is loading" in next(waiting).status
    stopped = answer(page, "dialogue", ask(), "you")
    next(stopped)
    page.session.stop("you", "dialogue")
    assert [moment.status for moment in stopped] == ["Stopped."]
    loaded.set()
    *_, last = waiting
    assert last.text == "Hello."


@pytest.mark.parametrize(
    ("failure", "code"),
    [(InputError("model_unknown", found="x", nearest="y"), "model_unknown"), (OSError("disk"), "web_model_failed")],
)
def test_a_model_that_cannot_load_is_said_to_each_request(failure: Exception, code: str) -> None:
    def load() -> Engine:
        raise failure

    page = Page(Session("broken", load).start(), Strings())
    for _ in range(2):
        with pytest.raises(CinquainError) as caught:
            list(answer(page, "dialogue", ask()))
        assert caught.value.code == code


def test_a_wrong_field_is_an_input_error_before_anything_runs() -> None:
    engine = ScriptedEngine()
    with pytest.raises(InputError) as caught:
        list(answer(page_of(engine), "dialogue", {**ask(), "temperature": -1}))
    assert "temperature" in str(caught.value)
    assert engine.calls == []


def test_a_crash_inside_the_engine_becomes_one_sentence(caplog: pytest.LogCaptureFixture) -> None:
    def crash() -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError) as caught:
        list(answer(page_of(ScriptedEngine(["x"], on_token=crash)), "dialogue", ask()))
    error = explained(caught.value)
    assert error.code == "web_run_failed"
    assert "out of memory" in str(error)
    assert "a request failed" in caplog.text


def test_notes_are_escaped() -> None:
    notes = [Note("text_empty", {"field": "<img src=x onerror=alert(1)>"})]
    shown = notes_html(Generation("dialogue", "scripted", "", notes=notes), "en")
    assert "<img" not in shown
    assert "&lt;img" in shown
    assert notes_html(Generation("dialogue", "scripted", ""), "en") == notes_html(None, "en") == ""


def test_the_speed_line_in_both_languages() -> None:
    options = {"options": {"seed": 7}}
    generation = Generation("dialogue", "m", "", Usage(9, 12), Timing(0.25, 1.5, 8.0), provenance=options)
    english = speed_line(generation, Strings("en"))
    assert english == "12 tokens in 1.5 s · 8.0 tokens/s · first token after 0.25 s · seed 7"
    assert "种子 7" in speed_line(generation, Strings("zh-CN"))


def test_every_key_has_both_languages_with_the_same_placeholders() -> None:
    from apps.web.strings import table

    for key, texts in table().items():
        assert set(texts) == {"en", "zh"}, key
        assert type(texts["en"]) is type(texts["zh"]), key
        if isinstance(texts["en"], str):
            assert texts["en"].strip(), key
            assert texts["zh"].strip(), key
            names = [set(re.findall(r"{(\w+)}", texts[language])) for language in ("en", "zh")]
            assert names[0] == names[1], key
        else:
            assert {len(row) for row in texts["en"]} == {len(row) for row in texts["zh"]}, key


def test_every_word_of_the_page_comes_from_the_table() -> None:
    """Labels, hints and buttons are looked up; only names of languages and code stand in the pages."""
    shown = re.compile(r'(?:label|info|placeholder|title)=f?"([^"]*)"|gr\.(?:Button|Tab|Accordion)\(\s*"([^"]*)"')
    allowed = {"run", "notes", "Cinquain", "def total(numbers: list[int]) -> int:"}
    folder = Path(__file__).parent.parent / "apps" / "web"
    found = {text for path in folder.glob("*.py") for pair in shown.findall(path.read_text("utf-8")) for text in pair}
    assert found - {""} <= allowed
