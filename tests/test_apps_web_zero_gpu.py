"""Requests on ZeroGPU: answered in a process that is forked for them, stopped by closing, errors told whole.

ZeroGPU itself cannot be had here; what stands in for its decorator forks and pickles as spaces 0.51 does.
"""

import multiprocessing
from collections.abc import Callable, Generator
from typing import Any

import pytest

from apps.web import zero_gpu
from apps.web.answer import Page, answer
from apps.web.session import Session
from apps.web.strings import Strings
from pipelines.engines.scripted import ScriptedEngine
from pipelines.errors import InputError

FORK = multiprocessing.get_context("fork")
FIELDS = {"text": "Good morning.", "target": "fr"}


def forking(duration: int) -> Callable[[Any], Any]:
    """``GPU(duration=…)``: a generator that runs elsewhere, and whose values are pickled."""

    def decorate(task: Callable[..., Generator[Any, None, None]]) -> Callable[..., Generator[Any, None, None]]:
        def elsewhere(*given: Any) -> Generator[Any, None, None]:
            here, there = FORK.Pipe()

            def work() -> None:
                for value in task(*given):
                    there.send(value)
                there.send(None)

            process = FORK.Process(target=work, daemon=True)
            process.start()
            try:
                while (value := here.recv()) is not None:
                    yield value
            finally:
                process.kill()
                process.join()

        return elsewhere

    return decorate


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setattr(zero_gpu, "GPU", forking)
    session = Session("scripted", ScriptedEngine)
    session.on_gpu = zero_gpu.on_gpu(session)
    session.load()
    return Page(session, Strings("en"))


def test_a_request_is_answered_by_another_process(page: Page) -> None:
    *_, last = answer(page, "translation", FIELDS)
    assert last.generation is not None
    assert last.text == last.generation.text == "[fr] Good morning."


def test_an_error_comes_back_whole(page: Page) -> None:
    with pytest.raises(InputError) as caught:
        list(answer(page, "translation", {**FIELDS, "target": "??"}))
    assert "??" in str(caught.value)


def test_stop_and_closing_end_the_process(page: Page) -> None:
    moments = answer(page, "translation", FIELDS, visitor="ada")
    next(moments)
    page.session.stop("ada", "translation")
    *_, last = moments
    assert last.status == page.t("status.stopped")
    assert not FORK.active_children()
    moments = answer(page, "translation", FIELDS)
    next(moments), next(moments)
    moments.close()  # type: ignore[attr-defined]
    assert not FORK.active_children()


def test_without_the_library_or_elsewhere_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_gpu, "GPU", None)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert not zero_gpu.is_zero_gpu()
    session = Session("scripted", ScriptedEngine)
    session.load()
    assert list(zero_gpu.on_gpu(session)("translation", FIELDS))[-1].text == "[fr] Good morning."
