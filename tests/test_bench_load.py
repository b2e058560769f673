"""The load test itself: a few users for a moment."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_no_request_fails_and_no_reply_is_mixed_up() -> None:
    # Beside other jobs an answer takes seconds.
    command = [sys.executable, str(ROOT / "bench" / "load.py"), "--users", "4", "--seconds", "12"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["failed"] == found["mixed_up"] == 0
    assert found["answered"] >= found["users"]
