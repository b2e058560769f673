"""A Hugging Face Hub on 127.0.0.1, as far as finding and fetching models and data sets goes, with faults on demand.

    with FakeHub() as hub:
        hub.add("org/name", {"config.json": b"{}"})
        os.environ["HF_ENDPOINT"] = hub.url

Every commit is a dict of files; branches, tags and pull requests point at commits. What it cannot show: Xet transfers,
redirects to a content network, the size limits and metadata rules of the real Hub.
"""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy

Files = dict[str, bytes]

_KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


@dataclass
class Repository:
    """One repository: commits by their id, and the branches, tags and pull requests that name them."""

    kind: str = "model"
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    members: set[str] = field(default_factory=set)
    library: str | None = None
    discussions: list[dict[str, Any]] = field(default_factory=list)

    def commit(self, files: Files, branch: str = "main") -> str:
        """A new commit with exactly these files, at the head of a branch."""
        text = f"{len(self.commits)}{sorted(files.items())}{branch}"
        name = hashlib.sha1(text.encode()).hexdigest()
        self.commits[name] = dict(files)
        refs = self.pulls if branch.startswith("refs/pr/") else self.branches
        refs[branch] = name
        return name

    def resolve(self, revision: str) -> str | None:
        """The commit of a branch, tag, pull request or commit."""
        known = {**self.tags, **self.pulls, **self.branches, **{name: name for name in self.commits}}
        return known.get(revision)


@dataclass
class Answer:
    """What goes back: status, headers, body."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, data: Any) -> "Answer":
        return cls(200, json.dumps(data).encode(), {"Content-Type": "application/json"})

    @classmethod
    def refusal(cls, status: int, code: str, message: str) -> "Answer":
        headers = {"X-Error-Message": message, "Content-Type": "application/json"}
        return cls(status, json.dumps({"error": message}).encode(), headers | ({"X-Error-Code": code} if code else {}))


class FakeHub:
    """The server; ``url`` is what HF_ENDPOINT must be.

    Attributes:
        tokens: Accounts by token.
        requests: ``METHOD path`` of all requests so far.
        faults: (pattern of ``METHOD path``, answer, how often or None for always), looked at before anything else.
        hold: Path pattern → bytes of the body that are sent before the server waits for ``release``.
        held: Set when a body waits.
        tells_sizes: Whether listings hold the bytes of files.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.tokens: dict[str, str] = {}
        self.requests: list[str] = []
        self.faults: list[tuple[str, Answer, int | None]] = []
        self.hold: dict[str, int] = {}
        self.tells_sizes = True
        self.held, self.release = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "FakeHub":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, files: Files, **settings: Any) -> Repository:
        """A repository with one commit on ``main``."""
        repository = self.repositories[name] = Repository(**settings)
        repository.commit(files)
        return repository

    def offer_conversion(self, name: str, files: Files, number: int = 1, author: str = "SFconvertbot") -> str:
        """A pull request that holds these files; returns its commit."""
        repository = self.repositories[name]
        title = "Adding `safetensors` variant of this model"
        repository.discussions.append({"num": number, "author": {"name": author}, "title": title})
        return repository.commit(files, f"refs/pr/{number}")

    def downloads(self) -> list[str]:
        """Names of the files that were fetched, in order."""
        found = (
            re.fullmatch(r"GET /(?:datasets/)?[^/]+/[^/]+/resolve/[0-9a-f]{40}/(.+)", line) for line in self.requests
        )
        return [line[1] for line in found if line]

    def answer(self, method: str, target: str, token: str | None, body: bytes = b"") -> Answer:
        """Route one request."""
        parts = urlsplit(target)
        path, line = unquote(parts.path), f"{method} {unquote(parts.path)}"
        with self._lock:
            self.requests.append(line)
            for index, (pattern, fault, times) in enumerate(self.faults):
                if re.search(pattern, line):
                    if times is not None:
                        self.faults[index : index + 1] = [(pattern, fault, times - 1)] if times > 1 else []
                    return fault
        if token is not None and token not in self.tokens:
            return Answer.refusal(401, "", "Invalid credentials in Authorization header")
        user = self.tokens.get(token or "")
        if method in ("POST", "DELETE") or path == "/api/whoami-v2":
            return self.write(path, user, body)
        if found := re.fullmatch(r"/api/(models|datasets|spaces)/([^/]+/[^/]+)(?:/(.*))?", path):
            return self._api(_KINDS[found[1]], found[2], found[3] or "", user, parse_qs(parts.query))
        if found := re.fullmatch(r"/(?:(datasets|spaces)/)?([^/]+/[^/]+)/resolve/(refs/pr/\d+|[^/]+)/(.+)", path):
            return self._file(_KINDS[found[1] or "models"], found[2], found[3], found[4], user)
        return Answer.refusal(404, "", f"the fake Hub has no route for {line}")

    def write(self, path: str, user: str | None, body: bytes) -> Answer:
        """What ``WritableHub`` takes."""
        return Answer.refusal(404, "", f"the fake Hub has no route for POST {path}")

    def _repository(self, kind: str, name: str, user: str | None) -> Repository | Answer:
        found = self.repositories.get(name)
        if found is None or found.kind != kind or (found.private and user not in found.members):
            # The real Hub does not tell strangers apart what is private and what is not there.
            return Answer.refusal(404 if user else 401, "RepoNotFound", "Repository not found")
        return found

    def _api(self, kind: str, name: str, rest: str, user: str | None, query: dict[str, list[str]]) -> Answer:
        repository = self._repository(kind, name, user)
        if isinstance(repository, Answer):
            return repository
        if rest == "refs":
            return Answer.json(
                {
                    "branches": [_ref(ref, f"refs/heads/{ref}", to) for ref, to in repository.branches.items()],
                    "tags": [_ref(ref, f"refs/tags/{ref}", to) for ref, to in repository.tags.items()],
                    "converts": [],
                    "pullRequests": [_ref(ref, ref, to) for ref, to in repository.pulls.items()],
                }
            )
        if rest == "discussions":
            wanted = query.get("author", [""])[0]
            found = [each for each in repository.discussions if wanted in ("", each["author"]["name"])]
            constant = {
                "createdAt": "2026-01-01T00:00:00.000Z",
                "status": "open",
                "isPullRequest": True,
                "repo": {"name": name, "type": "model"},
            }
            return Answer.json({"count": len(found), "start": 0, "discussions": [constant | each for each in found]})
        if rest.startswith("tree/"):
            return _tree(repository, *rest.removeprefix("tree/").partition("/")[::2])
        commit = repository.resolve(rest.removeprefix("revision/") if rest else "main")
        if commit is None:
            return Answer.refusal(404, "RevisionNotFound", f"Invalid rev id: {rest}")
        files = repository.commits[commit]
        siblings = [{"rfilename": path, "size": len(files[path]) if self.tells_sizes else None} for path in files]
        about = {"id": name, "sha": commit, "siblings": siblings, "gated": "manual" if repository.gated else False}
        return Answer.json(about | {"private": repository.private, "tags": [], "library_name": repository.library})

    def _file(self, kind: str, name: str, revision: str, path: str, user: str | None) -> Answer:
        repository = self._repository(kind, name, user)
        if isinstance(repository, Answer):
            return repository
        if repository.gated and user not in repository.members:
            return Answer.refusal(403 if user else 401, "GatedRepo", f"Access to model {name} is restricted.")
        commit = repository.resolve(revision)
        if commit is None:
            return Answer.refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        data = repository.commits[commit].get(path)
        if data is None:
            return Answer.refusal(404, "EntryNotFound", "Entry not found")
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        return Answer(200, data, {"X-Repo-Commit": commit, "ETag": etag, "Content-Type": "application/octet-stream"})


def _tree(repository: Repository, revision: str, folder: str) -> Answer:
    """All files below a folder, as far as a listing goes that need not tell folders."""
    commit = repository.resolve(revision)
    if commit is None:
        return Answer.refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    files = {path: data for path, data in repository.commits[commit].items() if path.startswith(folder)}
    return Answer.json(
        [{"type": "file", "path": path, "size": len(data), "oid": git_sha1(data)} for path, data in files.items()]
    )


def git_sha1(data: bytes) -> str:
    """The name that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _ref(name: str, ref: str, commit: str) -> dict[str, str]:
    return {"name": name, "ref": ref, "targetCommit": commit}


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class names it so
            pass

        def do_GET(self) -> None:
            self.reply(b"")

        def do_POST(self) -> None:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.reply(body)

        def reply(self, body: bytes) -> None:
            bearer = self.headers.get("Authorization", "")
            answer = hub.answer(self.command, self.path, bearer.removeprefix("Bearer ") or None, body)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            body = answer.body
            for pattern, sent in hub.hold.items():
                if re.search(pattern, self.path):
                    self.wfile.write(body[:sent])
                    self.wfile.flush()
                    hub.held.set()
                    hub.release.wait()
                    body = body[sent:]
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # the client was killed, which is what some tests are about

        do_HEAD = do_GET
        do_DELETE = do_POST

    return Handler


def small_model(kind: str = "llama", **config: Any) -> Files:
    """The least that is a model in safetensors."""
    from safetensors.numpy import save

    return {
        "config.json": json.dumps({"model_type": kind, **config}).encode(),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{ }",  # other bytes: equal files share one blob, which is fetched once
        "chat_template.jinja": b"{{ messages }}",
        "model.safetensors": save({"a": numpy.zeros(1000, dtype=numpy.float32)}),
        # What must never be fetched: other formats, pickles, code.
        "README.md": b"# A model",
        "modeling_own.py": b"raise SystemExit",
        "pytorch_model.bin": b"pickle",
        "onnx/config.json": b"{}",
    }


NEEDED = ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
"""The files of ``small_model`` that loading needs."""


def use_hub(hub: FakeHub, folder: Path, monkeypatch: Any) -> None:
    """Make this process, and those that it starts, take ``hub`` for the Hub, with caches of its own in ``folder``."""
    from huggingface_hub import close_session, constants

    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_CACHE": str(folder / "hf" / "hub"),
        "HF_TOKEN_PATH": str(folder / "no-token"),
        "CINQUAIN_HOME": str(folder / "home"),
        "LC_ALL": "C.UTF-8",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for name in ("HF_HUB_OFFLINE", "CINQUAIN_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    # The library read its variables when it was imported.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hf" / "hub"))
    close_session()
