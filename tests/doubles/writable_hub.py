"""The fake Hub with an account that may write: repositories, uploads, commits."""

import base64
import json
import re
from typing import Any

from tests.doubles.fake_hub import Answer, FakeHub, Repository

__all__ = ["WritableHub"]


class WritableHub(FakeHub):
    """Takes models of the account whose token is ``hf_ada``; every file comes with its commit, none through LFS."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = {"hf_ada": "ada", "hf_reader": "reader"}

    def write(self, path: str, user: str | None, body: bytes) -> Answer:
        """Routes that change something, and ``whoami-v2``."""
        if user is None:
            return Answer.refusal(401, "", "Invalid username or password.")
        if path == "/api/whoami-v2":
            token = {"displayName": "", "role": "read" if user == "reader" else "write"}
            auth = {"type": "access_token", "accessToken": token}
            return Answer.json({"type": "user", "name": user, "orgs": [], "auth": auth})
        if path == "/api/validate-yaml":
            return Answer.json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(user, json.loads(body))
        found = re.fullmatch(r"/api/(model|space)s/([^/]+/[^/]+)/(preupload|commit)/main", path)
        if found is None:
            return super().write(path, user, body)
        repository = self._repository(found[1], found[2], user)
        if isinstance(repository, Answer):
            return repository
        if found[3] == "preupload":
            files = json.loads(body)["files"]
            answer = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            return Answer.json({"files": [answer | {"path": file["path"]} for file in files]})
        return self._commit(found[2], repository, [json.loads(line) for line in body.splitlines()])

    def _create(self, user: str, wanted: dict[str, Any]) -> Answer:
        owner = wanted.get("organization") or user
        name = f"{owner}/{wanted['name']}"
        if owner != user or user == "reader":
            return Answer.refusal(403, "", f"You don't have the rights to create a model under {owner}.")
        if name in self.repositories:
            return Answer(
                409, json.dumps({"error": "You already created this repo", "url": f"{self.url}/{name}"}).encode()
            )
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.add(name, {}, private=private, members={user})
        return Answer.json({"url": f"{self.url}/{name}", "name": name, "id": "0" * 24})

    def _commit(self, name: str, repository: Repository, lines: list[dict[str, Any]]) -> Answer:
        files = dict(repository.commits[repository.branches["main"]])
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                files.pop(line["value"]["path"], None)
        commit = repository.commit(files)
        return Answer.json({"success": True, "commitOid": commit, "commitUrl": f"{self.url}/{name}/commit/{commit}"})
