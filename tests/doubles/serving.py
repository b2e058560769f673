"""A real ``transformers serve`` on this machine."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.doubles.ports import free_port

__all__ = ["serving"]

START_S = 120
"""Seconds that the server may take to start: 15 on one idle core."""


@contextmanager
def serving(model: Path, log: Path) -> Iterator[str]:
    """Serve a model's folder while this lasts; yields its reference, ``http://127.0.0.1:PORT/v1#FOLDER``."""
    program = Path(sys.executable).with_name("transformers")
    missing = [name for name in ("fastapi", "openai", "uvicorn") if find_spec(name) is None]
    if missing or not program.exists():
        reason = f"needs transformers serve, which lacks {missing}: pip install -c constraints.txt -e '.[test]'"
        (pytest.fail if os.environ.get("CINQUAIN_REQUIRE_ALL") == "1" else pytest.skip)(reason)
    port = free_port()
    line = [str(program), "serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("wb") as output:
        server = subprocess.Popen(line, stdout=output, stderr=output, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        for _ in range(START_S * 5):
            if _healthy(port):
                break
            try:
                server.wait(0.2)  # the pause between two looks, and the news that it has died
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"transformers serve ended: {log.read_text()[-2000:]}")
        else:
            pytest.fail(f"transformers serve did not start in {START_S} s: {log.read_text()[-2000:]}")
        yield f"http://127.0.0.1:{port}/v1#{model}"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
