"""How the app is served: languages, password, limits; and who may ask the model next."""

import base64
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.web import launch
from apps.web.answer import Page, answer
from apps.web.security import LimitRate
from apps.web.serving import COOKIE, credentials, preferred
from apps.web.session import Session
from apps.web.strings import Strings
from apps.web.turns import Turns
from pipelines.engines.scripted import ScriptedEngine
from pipelines.errors import InputError
from tests.doubles.ports import free_port


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "fr-FR,en;q=0.4,zh-TW;q=0.5", "zh"),
        ("", "fr, de;q=0.7", "en"),
        ("", "en;q=0, zh;q=0.1", "zh"),
        ("", "en;q=x, zh", "zh"),
        ("", "", "en"),
        ("zh", "en", "zh"),
        ("xx", "zh", "zh"),
    ],
)
def test_the_language_of_a_browser(cookie: str, accepted: str, language: str) -> None:
    assert preferred({COOKIE: cookie} if cookie else {}, accepted, "en") == language


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    served = launch("scripted", host="0.0.0.0", port=free_port(), auth=("ada", "correct horse"))
    yield served.address
    served.close()


def status(address: str, path: str, password: str | None = None, **headers: str) -> int:
    if password is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(password.encode()).decode()
    try:
        with urllib.request.urlopen(urllib.request.Request(address + path, headers=headers), timeout=10) as answered:
            return int(answered.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    "path", ["/", "/en/", "/zh/config", "/en/gradio_api/info", "/en/gradio_api/mcp/", "/language/zh", "/en/theme.css"]
)
def test_nothing_is_answered_without_the_password(guarded: str, path: str) -> None:
    wrong = [
        None,
        "",
        "ada",
        "ada:",
        "ada:wrong horse",
        "bob:correct horse",
        "ada:correct horse ",
        "ada:correct horse\0",
    ]
    assert {status(guarded, path, password) for password in wrong} == {401}
    assert status(guarded, path, Authorization="Basic %%%") == status(guarded, path, Authorization="Bearer x") == 401


def test_with_the_password_the_app_answers(guarded: str) -> None:
    assert status(guarded, "/zh/", "ada:correct horse") == 200
    assert status(guarded, "/en/gradio_api/mcp/", "ada:correct horse") == 404
    from gradio_client import Client

    header = {"Authorization": "Basic " + base64.b64encode(b"ada:correct horse").decode()}
    client = Client(f"{guarded}/en", headers=header, verbose=False, analytics_enabled=False)
    assert client.predict(text="Good day.", target="fr", api_name="/translate")[0] == "[fr] Good day."


def test_the_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "ada:correct horse:battery")
    assert credentials("WHO") == ("ada", "correct horse:battery")
    for value in ("", "ada", "ada:short", ":correct horse"):
        monkeypatch.setenv("WHO", value)
        with pytest.raises(InputError) as caught:
            credentials("WHO")
        assert "WHO" in str(caught.value)
        assert value not in str(caught.value) or not value


def test_a_host_that_is_none_is_one_sentence() -> None:
    with pytest.raises(InputError) as caught:
        launch("scripted", host="203.0.113.7", port=free_port(), auth=("ada", "correct horse"))
    assert caught.value.code == "web_host_unknown"


class Server:
    """An application that always answers with one status, and a client of it."""

    def __init__(self, answered: int = 200, limit: int = 3) -> None:
        self.answered, self.now = answered, 0.0
        self.limited = LimitRate(self, limit, lambda: self.now)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.answered})

    def ask(self, method: str = "POST", address: str = "1.2.3.4") -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        asking = self.limited({"type": "http", "method": method, "client": (address, 1)}, None, send)  # type: ignore[arg-type]
        with pytest.raises(StopIteration):
            asking.send(None)  # type: ignore[attr-defined]
        return int(sent[0]["status"])


def test_an_address_may_send_so_much_in_a_minute_and_guess_a_password_as_often() -> None:
    server = Server()
    assert [server.ask() for _ in range(5)] == [200, 200, 200, 429, 429]
    assert server.ask(address="5.6.7.8") == 200
    assert server.ask("GET") == 429
    server.now = 61.0
    assert [server.ask("GET") for _ in range(9)] == [200] * 9
    guessed = Server(answered=401)
    assert [guessed.ask("GET") for _ in range(5)] == [401, 401, 401, 429, 429]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=40))
def test_first_come_first_served_whoever_leaves(moves: list[tuple[str, bool]]) -> None:
    turns = Turns(most=5, most_of_one=3)
    there: list[tuple[Any, Any, str]] = []
    for visitor, comes in moves:
        if comes:
            joining = turns.joined(visitor)
            full, mine = len(there) == 5, sum(each == visitor for _, _, each in there) == 3
            if not (full or mine):
                there.append((joining.__enter__(), joining, visitor))
            else:
                with pytest.raises(InputError) as caught:
                    joining.__enter__()
                assert caught.value.code == ("web_queue_full" if full else "web_queue_yours")
        elif there:
            _, joining, _ = there.pop("abc".index(visitor) % len(there))
            joining.__exit__(None, None, None)
        assert [ticket.wait(0) for ticket, _, _ in there] == list(range(len(there)))


def test_a_request_says_how_many_are_before_it_and_one_that_is_closed_makes_way() -> None:
    session = Session("scripted", ScriptedEngine)
    session.load()
    page = Page(session, Strings("en"))
    first = answer(page, "translation", {"text": "Good day.", "target": "fr"}, "ada")
    next(first)
    second = answer(page, "translation", {"text": "Good night.", "target": "fr"}, "bob")
    assert next(second).status == "Waiting: 1 before you."
    first.close()  # type: ignore[attr-defined]  # its tab was closed
    *_, last = second
    assert last.text == "[fr] Good night."


def test_two_languages_share_one_model(guarded: str) -> None:
    from gradio_client import Client

    header = {"Authorization": "Basic " + base64.b64encode(b"ada:correct horse").decode()}
    replies: dict[str, str] = {}

    def ask(language: str) -> None:
        client = Client(f"{guarded}/{language}", headers=header, verbose=False, analytics_enabled=False)
        replies[language] = client.predict(text=f"In {language}.", target="fr", api_name="/translate")[0]

    threads = [threading.Thread(target=ask, args=(language,)) for language in ("en", "zh")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == {"en": "[fr] In en.", "zh": "[fr] In zh."}


@pytest.mark.model
def test_the_embedded_model_stops_within_a_quarter_of_a_second_and_answers_the_next_request(
    embedded_model: Path,
) -> None:
    from pipelines import DEFAULT_MODEL
    from pipelines.engines import load_engine

    session = Session(DEFAULT_MODEL, lambda: load_engine(DEFAULT_MODEL))
    session.load()
    page = Page(session, Strings("en"))
    long = {"messages": [{"role": "user", "content": "Tell me a long story about the sea."}], "max_new_tokens": 2000}
    took = []
    for _ in range(5):
        moments = answer(page, "dialogue", long, "ada")
        for moment in moments:
            if len(moment.text.split()) > 5:
                break
        began = time.perf_counter()
        session.stop("ada", "dialogue")
        *_, last = moments
        took.append(time.perf_counter() - began)
        assert last.generation is not None
        assert last.generation.finish_reason == "cancelled"
    assert sorted(took)[2] < 0.25, took  # the median: other programs share the machine's cores
    *_, last = answer(page, "dialogue", {**long, "max_new_tokens": 8}, "bob")
    assert last.generation is not None
    assert last.generation.usage.completion_tokens > 0
