"""The fake Hub with Spaces: made, filled, configured, built, rolled back, deleted."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.fake_hub import Answer, Repository
from tests.doubles.writable_hub import WritableHub

__all__ = ["Runtime", "SpaceHub"]


@dataclass
class Runtime:
    """What the Hub knows of a running Space."""

    hardware: str
    stages: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


class SpaceHub(WritableHub):
    """Spaces of the account ``hf_ada``.

    Attributes:
        runtimes: By the Space's name.
        build: Stages of each build, one for each question; the last one stays. ``UNSEEN``: the Hub does not know yet
            that there is an app.
        log: Lines of the build's log.
        host: Where all Spaces answer; None where they have no address.
        paid: Whether the account has a plan; without one only ZeroGPU is free.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runtimes: dict[str, Runtime] = {}
        self.build = ["BUILDING", "APP_STARTING", "RUNNING"]
        self.log: list[str] = []
        self.host: str | None = None
        self.paid = True
        self._titles: dict[tuple[str, str], str] = {}

    def write(self, path: str, user: str | None, body: bytes) -> Answer:
        """Routes that change a Space."""
        if user and path == "/api/repos/create" and json.loads(body).get("type") == "space":
            return self._create_space(user, json.loads(body))
        if user and path == "/api/repos/delete":
            wanted = json.loads(body)
            self.repositories.pop(f"{wanted.get('organization') or user}/{wanted['name']}", None)
            return Answer.json({})
        found = re.fullmatch(r"/api/spaces/([^/]+/[^/]+)/(secrets|variables|hardware)", path)
        if found is None:
            return super().write(path, user, body)
        repository = self._repository("space", found[1], user)
        if isinstance(repository, Answer):
            return repository
        runtime = self.runtimes[found[1]]
        given = json.loads(body)
        if found[2] == "hardware":
            runtime.hardware = given["flavor"]
            return self._runtime(found[1])
        getattr(runtime, found[2])[given["key"]] = given["value"]
        return Answer.json({})

    def _create_space(self, user: str, wanted: dict[str, Any]) -> Answer:
        hardware = wanted.get("hardware") or "cpu-basic"
        name = f"{wanted.get('organization') or user}/{wanted['name']}"
        if not self.paid and not hardware.startswith("zero") and name not in self.repositories:
            return Answer.refusal(402, "", "Subscribe to PRO to create a Gradio Space on this hardware.")
        answer = self._create(user, wanted)
        if answer.status == 200:
            self.repositories[name].kind = "space"
            self.runtimes[name] = Runtime(hardware, ["NO_APP_FILE"])
            return Answer.json({"url": f"{self.url}/spaces/{name}", "name": name, "id": "0" * 24})
        return answer

    def _commit(self, name: str, repository: Repository, lines: list[dict[str, Any]]) -> Answer:
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit") not in (None, repository.branches["main"]):
            return Answer.refusal(412, "", "A commit has happened since. Please refresh and try again.")
        answer = super()._commit(name, repository, lines)
        self._titles[name, repository.branches["main"]] = header["summary"]
        if repository.kind == "space":
            self.runtimes[name].stages = list(self.build)
        return answer

    def _api(self, kind: str, name: str, rest: str, user: str | None, query: dict[str, list[str]]) -> Answer:
        repository = self._repository(kind, name, user)
        if isinstance(repository, Answer):
            return super()._api(kind, name, rest, user, query)
        if rest.startswith("commits/"):
            entries = [
                {"id": each, "title": self._titles.get((name, each), "initial commit"), "message": "", "authors": [],
                 "date": "2026-01-01T00:00:00.000Z"}
                for each in reversed(repository.commits)
            ]  # fmt: skip
            return Answer.json(entries)
        if kind != "space":
            return super()._api(kind, name, rest, user, query)
        if rest == "runtime":
            return self._runtime(name)
        if rest.startswith("logs/"):
            events = "".join(f"data: {json.dumps({'data': line, 'timestamp': ''})}\n\n" for line in self.log)
            return Answer(200, events.encode(), {"Content-Type": "text/event-stream"})
        answer = super()._api(kind, name, rest, user, query)
        if answer.status == 200 and (not rest or rest.startswith("revision/")):
            about = json.loads(answer.body) | {"sdk": "gradio", "host": self.host, "subdomain": "ada-demo"}
            return Answer.json(about)
        return answer

    def _runtime(self, name: str) -> Answer:
        runtime, repository = self.runtimes[name], self.repositories[name]
        stage = runtime.stages.pop(0) if len(runtime.stages) > 1 else runtime.stages[0]
        if stage == "UNSEEN":
            return Answer.json({"stage": "NO_APP_FILE", "hardware": {"current": None, "requested": None}})
        hardware = {"current": None if stage == "NO_APP_FILE" else runtime.hardware, "requested": runtime.hardware}
        return Answer.json({"stage": stage, "hardware": hardware, "sha": repository.branches["main"]})
