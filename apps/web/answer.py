"""A request from a page, as plain Python: no Gradio here, so that tests call it as the page does."""

import html
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from apps.web.session import Session
from apps.web.strings import Strings
from apps.web.turns import Ticket
from pipelines.errors import CinquainError
from pipelines.generation import Generation
from pipelines.pipeline import Stream
from pipelines.wording import sentence

__all__ = ["Moment", "Page", "answer", "explained", "notes_html", "speed_line"]

HEARTBEAT_S = 0.5
"""Longest silence between two moments. Gradio can close a generator only where it yields, so this is also how long a
step without output (one part of a map-reduce) may go on after a browser tab was closed."""


@dataclass(frozen=True)
class Page:
    """What every page is built with: the shared model, the words in the page's language, what the browser keeps."""

    session: Session
    t: Strings
    kept: Any = None


@dataclass(frozen=True)
class Moment:
    """What a page shows at one moment of a request; the last one holds the whole result."""

    text: str
    status: str
    generation: Generation | None = None


def answer(page: Page, task: str, fields: Mapping[str, Any], visitor: str = "") -> Iterator[Moment]:
    """Answer a request moment by moment.

    Closing the iterator, or ``session.stop``, ends the model's work within one token.

    Raises:
        CinquainError: The request is wrong, the model could not be loaded, or the run failed.
    """
    session, t = page.session, page.t
    with session.request(visitor, task) as cancel, session.turns.joined(visitor) as ticket:
        for waiting in _waiting(page, ticket):
            yield Moment("", waiting)
            if cancel.is_set():
                yield Moment("", t("status.stopped"))
                return
        happening = (_on_gpu if session.on_gpu else _here)(session, task, fields, cancel)
        text, status = "", t("status.working")
        yield Moment(text, status)
        for events in happening:
            for event in events:
                if isinstance(event, Generation):
                    yield Moment(event.text, speed_line(event, t), event)
                    return
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, str):
                    text += event
                elif event[1] > 1:
                    status = t("status.parts", done=event[0], known=event[1])
            yield Moment(text, status)
        yield Moment(text, t("status.stopped"))


def _waiting(page: Page, ticket: Ticket) -> Iterator[str]:
    """What a request waits for, as long as it does: the model, then those who came before."""
    while not page.session.wait(HEARTBEAT_S):
        yield page.t("status.loading", model=page.session.reference)
    while before := ticket.wait(HEARTBEAT_S):
        yield page.t("status.waiting", before=before)


def _here(session: Session, task: str, fields: Mapping[str, Any], cancel: threading.Event) -> Iterator[list[Any]]:
    """What happens, in a thread of its own.

    A Stop must get through while a step without output runs, and Gradio closes a generator inside its event loop, which
    must not wait for a token.
    """
    events: SimpleQueue[Any] = SimpleQueue()
    stream = session.pipeline(task).stream(
        cancel=cancel, on_progress=lambda done, known: events.put((done, known)), **fields
    )
    threading.Thread(target=_pump, args=(stream, events), name=f"run-{task}", daemon=True).start()
    return iter(lambda: _drain(events), None)


def _on_gpu(session: Session, task: str, fields: Mapping[str, Any], cancel: threading.Event) -> Iterator[list[Any]]:
    """What happens in a process that has a GPU; it is asked from this thread, which knows the visitor."""
    assert session.on_gpu is not None
    with closing(session.on_gpu(task, dict(fields))) as events:  # closing it ends the work in the other process
        for event in events:
            if cancel.is_set():
                return
            yield [event]


def speed_line(generation: Generation, t: Strings) -> str:
    """One line under a result: how much, how fast, and the seed that repeats it."""
    timing, line = generation.timing, []
    line.append(t("speed.tokens", tokens=generation.usage.completion_tokens, seconds=f"{timing.total_s:.1f}"))
    if timing.tokens_per_s:
        line.append(t("speed.rate", rate=f"{timing.tokens_per_s:.1f}"))
    if timing.first_token_s is not None:
        line.append(t("speed.first", seconds=f"{timing.first_token_s:.2f}"))
    if (seed := generation.provenance.get("options", {}).get("seed")) is not None:
        line.append(t("speed.seed", seed=seed))
    return " · ".join(line)


def notes_html(generation: Generation | None, language: str) -> str:
    """The notes of a result as an HTML list; whatever they quote from the model or the input is escaped."""
    if generation is None or not generation.notes:
        return ""
    items = (f"<li>{html.escape(sentence(note, language))}</li>" for note in generation.notes)
    return f'<ul class="notes">{"".join(items)}</ul>'


def explained(error: Exception) -> CinquainError:
    """Any error as one of ours; what nobody foresaw is logged with its traceback."""
    if isinstance(error, CinquainError):
        return error
    logging.getLogger(__name__).error("a request failed", exc_info=error)
    return CinquainError("web_run_failed", problem=f"{type(error).__name__}: {error}")


def _pump(stream: Stream, events: "SimpleQueue[Any]") -> None:
    try:
        for piece in stream:
            events.put(piece)
        events.put(stream.generation)
    except Exception as error:  # whatever ends this thread must reach the page, or it would wait for ever
        events.put(error)


def _drain(events: "SimpleQueue[Any]") -> list[Any]:
    """All that has come in: when the browser is slower than the model, several tokens become one update."""
    found: list[Any] = []
    try:
        found.append(events.get(timeout=HEARTBEAT_S))
        while True:
            found.append(events.get_nowait())
    except Empty:
        return found
