"""A server on 127.0.0.1 that speaks OpenAI's chat interface as well, or as badly, as a test wants."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_S = 20.0
"""How long it waits for a client to do something; only a failing test waits as long."""


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any] = field(default_factory=dict)


class Handler(BaseHTTPRequestHandler):
    """Reads a request, and lets the test's answer write what it likes."""

    protocol_version = "HTTP/1.1"
    server: "FaultyServer"
    asked: Asked

    def do_GET(self) -> None:
        self.server.asked.append(Asked(self.path, dict(self.headers)))
        self.server.pages.get(self.path, status(404, {"detail": "Not Found"}))(self)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked = Asked(self.path, dict(self.headers), body)
        with self.server.lock:
            self.server.asked.append(self.asked)
            answers = self.server.answers
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.server.arrived.set()
        answer(self)

    def begin(self, code: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        """Send the head of an answer whose body comes in chunks."""
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        """Send a part of the body; an empty one ends it."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def event(self, data: Any) -> None:
        """Send one event."""
        self.chunk(b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n")

    def text(self, piece: str | None, finish: str | None = None, **delta: Any) -> None:
        """Send a piece of a reply."""
        choice = {"index": 0, "delta": {"content": piece, **delta}, "finish_reason": finish}
        self.event({"object": "chat.completion.chunk", "model": "served-model", "choices": [choice]})

    def cut(self) -> None:
        """End the connection in the middle of what was promised."""
        self.wfile.flush()
        self.close_connection = True

    def wait_until_gone(self) -> None:
        """Send nothing until the client leaves; ``server.gone`` says that it did."""
        self.connection.settimeout(PATIENCE_S)
        if self.connection.recv(1) == b"":
            self.server.gone.set()
        self.close_connection = True

    def handle(self) -> None:
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.server.gone.set()

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


Answer = Callable[[Handler], None]


class FaultyServer(ThreadingHTTPServer):
    """Answers chat requests one after another from ``answers``, the last of which repeats.

    Attributes:
        answers: What writes the answers.
        pages: Answers to GET by path.
        asked: Every request that came.
        arrived: Set when a chat request has come.
        gone: Set when a client has left before its answer was whole.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = [reply("Hello", " there.")]
        self.pages: dict[str, Answer] = {}
        self.asked: list[Asked] = []
        self.arrived = threading.Event()
        self.gone = threading.Event()
        self.lock = threading.Lock()

    @property
    def host(self) -> str:
        """``127.0.0.1:port``."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def reference(self) -> str:
        """The reference of its model."""
        return f"http://{self.host}/v1#m"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The bodies of the chat requests."""
        return [asked.body for asked in self.asked if asked.body]

    def lists(self, *models: str, **more: Any) -> None:
        """Let it list its models."""
        self.pages["/v1/models"] = status(200, {"object": "list", "data": [{"id": name, **more} for name in models]})


@contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    """A server that runs while the block does."""
    server = FaultyServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(
    *pieces: str, finish: str | None = "stop", usage: tuple[int, int] | None = (7, 3), thought: str = ""
) -> Answer:
    """A good answer."""

    def answer(handler: Handler) -> None:
        handler.begin()
        handler.text(None, role="assistant")
        if thought:
            handler.text(None, reasoning_content=thought)
        for piece in pieces:
            handler.text(piece)
        if finish:
            handler.text(None, finish)
        if usage:
            counts = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True))
            handler.event({"choices": [], "usage": {**counts, "total_tokens": sum(usage)}})
        handler.event(b"[DONE]")
        handler.chunk(b"")

    return answer


def echo(handler: Handler) -> None:
    """Answer with the last message."""
    reply(handler.asked.body["messages"][-1]["content"])(handler)


def silence(handler: Handler) -> None:
    """Accept the request, and say nothing until the client leaves."""
    handler.begin()
    handler.wait_until_gone()


def status(code: int, body: Any = "", kind: str = "application/json", **headers: str) -> Answer:
    """An answer with a status; a body that is no text is written as JSON."""
    data = (body if isinstance(body, str) else json.dumps(body)).encode()

    def answer(handler: Handler) -> None:
        handler.begin(code, kind, **headers)
        if data:
            handler.chunk(data)
        handler.chunk(b"")

    return answer


def refuses(code: int, message: str, /, **fields: Any) -> Answer:
    """An error as OpenAI writes it."""
    return status(code, {"error": {"message": message, **fields}})
