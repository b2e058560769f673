"""The served app: its address, its headers, its five endpoints, and how it ends when something is wrong."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.web import launch
from pipelines.engines.base import Call
from pipelines.engines.scripted import ScriptedEngine
from pipelines.errors import InputError
from pipelines.wording import sentence
from tests.doubles.ports import free_port

REPLIES = {
    "translation": "Bonjour.",
    "summarization": "The mill closed.",
    "dialogue": "Hello to you.",
    "code_generation": "```python\ndef add(a, b):\n    return a + b\n```",
    "creative_writing": "Snow on the roof\nand no sound.",
}


def reply(call: Call) -> str:
    if "crash" in call.messages[-1]["content"]:
        raise RuntimeError("the <b>engine</b> broke")
    return REPLIES[call.task]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    port = free_port()
    served = launch(engine=ScriptedEngine(reply), port=port)
    yield f"{served.address}/en"
    served.close()


@pytest.fixture(scope="module")
def client(address: str) -> Any:
    from gradio_client import Client

    return Client(address, verbose=False, download_files=False, analytics_enabled=False)


def fetch(url: str, **headers: str) -> Any:
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10)


def test_importing_the_app_loads_no_heavy_library() -> None:
    program = "import sys, apps.web; print(*({'gradio', 'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_another_host_is_refused(host: str) -> None:
    with pytest.raises(InputError) as caught:
        launch("scripted", host=host)
    assert caught.value.code == "web_host_refused"
    assert "127.0.0.1" in sentence(caught.value, "zh")


def test_a_busy_or_impossible_port_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError) as caught:
            launch("scripted", port=taken.getsockname()[1])
    assert caught.value.code == "web_port_busy"
    for port in (0, -1, 70000):
        with pytest.raises(InputError) as caught:
            launch("scripted", port=port)
        assert caught.value.code == "web_port_invalid"


def test_an_unknown_model_is_said_before_anything_is_served(empty_home: Path) -> None:
    with pytest.raises(InputError) as caught:
        launch("smollm2-135n", port=free_port())
    assert "smollm2-135m" in str(caught.value)


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        launch("scripted", port=free_port(), language="fr")
    assert "en, zh" in str(caught.value)


def test_the_page_forbids_the_browser_to_reach_anybody_else(address: str) -> None:
    headers = fetch(address).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert all("http" not in sources and "*" not in sources for sources in policy.values())
    assert headers["x-content-type-options"] == "nosniff"


def test_a_foreign_host_name_is_refused(address: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(address, Host="rebound.example")
    assert caught.value.code == 400


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_pages_of_other_servers_are_refused(address: str, origin: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(f"{address}/config", Origin=origin)
    assert caught.value.code == 403
    assert fetch(f"{address}/config", Origin=address.removesuffix("/en")).status == 200


def test_nothing_but_the_five_tasks_is_public(address: str) -> None:
    info = json.load(fetch(f"{address}/gradio_api/info"))
    assert set(info["named_endpoints"]) == {"/translate", "/summarize", "/chat", "/write_code", "/write"}
    assert info["unnamed_endpoints"] == {}
    names = {parameter["parameter_name"] for parameter in info["named_endpoints"]["/translate"]["parameters"]}
    assert {"text", "source", "target", "formality", "glossary", "seed"} <= names


def test_share_analytics_monitoring_and_mcp_are_off(address: str) -> None:
    config = json.load(fetch(f"{address}/config"))
    assert not config["analytics_enabled"]
    assert not config.get("run_history")
    assert not config.get("mcp_server")
    for path in ("/monitoring", "/gradio_api/mcp/sse", "/gradio_api/file=/etc/passwd"):
        with pytest.raises(urllib.error.HTTPError):
            fetch(address + path)


@pytest.mark.parametrize(
    ("endpoint", "fields", "expected"),
    [
        ("/translate", {"text": "Good day.", "target": "fr"}, "Bonjour."),
        ("/summarize", {"text": "The mill closed. It was old.", "length": "sentence"}, "The mill closed."),
        ("/write_code", {"instruction": "Add two numbers."}, "def add(a, b):\n    return a + b"),
        ("/write", {"brief": "snow"}, "Snow on the roof\nand no sound."),
    ],
)
def test_each_endpoint_answers(client: Any, endpoint: str, fields: dict[str, str], expected: str) -> None:
    result = client.predict(**fields, api_name=endpoint)
    assert result[0].strip() == expected
    assert any("tokens/s" in str(value) for value in result)


@pytest.mark.sandbox
@pytest.mark.parametrize(("tests", "said"), [("assert add(1, 2) == 3", "passes"), ("assert add(1, 2) == 4", "fails")])
def test_code_is_run_against_the_tests_of_the_form(client: Any, tests: str, said: str) -> None:
    result = client.predict(instruction="Add two numbers.", tests=tests, api_name="/write_code")
    assert any(said in str(value) for value in result)


def test_the_chat_endpoint_answers_and_continues(client: Any) -> None:
    history, box, *_ = client.predict(message="Hi", history=[], api_name="/chat")
    assert [turn["role"] for turn in history] == ["user", "assistant"]
    assert history[1]["content"][0]["text"] == "Hello to you."
    assert box == ""
    history, *_ = client.predict(message="And again", history=history, api_name="/chat")
    assert len(history) == 4


def test_wrong_input_is_one_sentence_and_the_next_request_works(client: Any) -> None:
    from gradio_client.exceptions import AppError, ValidationError

    with pytest.raises(ValidationError):
        client.predict(text="  ", target="fr", api_name="/translate")
    with pytest.raises(AppError, match="Line 1 of the glossary"):
        client.predict(text="Good day.", target="fr", glossary="nonsense", api_name="/translate")
    with pytest.raises(AppError, match="qqqqq"):
        client.predict(text="Good day.", target="qqqqq", api_name="/translate")
    with pytest.raises(AppError, match="&lt;b&gt;engine"):
        client.predict(message="crash now", history=[], api_name="/chat")
    assert client.predict(text="Good day.", target="fr", api_name="/translate")[0] == "Bonjour."
