"""Twenty people at the web app at once. `make load-test`.

The app is served by a process of its own, as `cinquain ui` serves it, over a scripted engine that paces its tokens.
Each user is a thread with a client of its own, in English or Chinese, that asks for the five tasks in random order for
as long as the test runs. Every request holds a word of its own, the reply repeats what it was asked, and
the user looks for that word, and for none of anybody else's. One request in ten is given up half-way. Its last line is
one JSON object; it exits 1 where a request failed or a reply was mixed up.
"""

import argparse
import json
import platform
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradio_client import Client

TOKEN_S = 0.002
"""Seconds of a token: a model that writes 500 a second, so that requests queue and the server's own work shows."""
MARK = re.compile(r"mark[0-9]+x[0-9]+")
SEED = 0
SAMPLE_S = 0.5

FIELDS: dict[str, Any] = {
    "/translate": lambda mark: {"text": f"Good day, {mark}.", "source": "en", "target": "fr"},
    "/summarize": lambda mark: {"text": f"The mill closed. {mark} bought it. It was old.", "length": "sentence"},
    "/chat": lambda mark: {"message": f"Who is {mark}?", "history": []},
    "/write_code": lambda mark: {"instruction": f"Return the text {mark}."},
    "/write": lambda mark: {"brief": f"snow, and {mark} in it"},
}


class User:
    """One person: asks, reads, asks again, and keeps account of it."""

    def __init__(self, number: int, address: str) -> None:
        self.number, self.address = number, address
        self.seconds: list[float] = []
        self.outcomes: Counter[str] = Counter()
        self.problems: list[str] = []

    def ask_until(self, ends: float) -> None:
        """Ask one request after another until a time of the monotonic clock."""
        from gradio_client import Client

        drawn = random.Random(SEED + self.number)
        language = "en" if self.number % 2 else "zh"
        client = Client(f"{self.address}/{language}", verbose=False, download_files=False, analytics_enabled=False)
        count = 0
        while time.monotonic() < ends:
            count += 1
            endpoint = drawn.choice(list(FIELDS))
            try:
                self._ask(client, endpoint, f"mark{self.number}x{count}", give_up=drawn.random() < 0.1)
            except Exception as error:  # whatever it is, it is what this test looks for
                self.outcomes["failed"] += 1
                self.problems.append(f"{endpoint}: {type(error).__name__}: {error}")

    def _ask(self, client: "Client", endpoint: str, mark: str, *, give_up: bool) -> None:
        began = time.monotonic()
        job = client.submit(**FIELDS[endpoint](mark), api_name=endpoint)
        if give_up:
            next(iter(job), None)  # it has begun, or waits in the queue
            job.cancel()
            self.outcomes["given up"] += 1
            return
        found = set(MARK.findall(str(job.result(timeout=120))))
        self.seconds.append(time.monotonic() - began)
        self.outcomes["answered"] += 1
        if found != {mark}:
            self.outcomes["mixed up"] += 1
            self.problems.append(f"{endpoint}: asked for {mark}, found {sorted(found)}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--serve", type=int, metavar="PORT", help="be the server")
    options = parser.parse_args(arguments)
    if options.serve:
        serve_scripted(options.serve)
        return 0
    with server() as (address, process):
        users = [User(number, address) for number in range(options.users)]
        memory = ask_all(users, options.seconds, process)
    outcomes = sum((user.outcomes for user in users), Counter())
    waited = sorted(seconds for user in users for seconds in user.seconds)
    fewest, most = (choose(user.outcomes["answered"] for user in users) for choose in (min, max))
    # The first fifth fills caches and opens sessions; a leak goes on after it.
    settled = memory[len(memory) // 5 :]
    half = len(settled) // 2
    growth = statistics.median(settled[half:]) - statistics.median(settled[:half])
    for problem in [problem for user in users for problem in user.problems][:10]:
        print(problem)
    print(f"{options.users} users, {options.seconds:.0f} s: {dict(outcomes)}")
    median, slow = statistics.median(waited), waited[int(0.95 * len(waited))]
    print(f"a reply after {median:.2f} s (median), {slow:.2f} s (95 of 100)")
    print(f"replies of a user: {fewest} to {most}; memory {settled[0]:.0f} to {max(settled):.0f} MB, {growth:+.1f} MB")
    print(
        json.dumps(
            {
                "users": options.users,
                "seconds": options.seconds,
                "answered": outcomes["answered"],
                "given_up": outcomes["given up"],
                "failed": outcomes["failed"],
                "mixed_up": outcomes["mixed up"],
                "median_s": round(median, 3),
                "p95_s": round(slow, 3),
                "answered_by_user": [fewest, most],
                "memory_mb": [round(settled[0], 1), round(max(settled), 1)],
                "growth_mb": round(growth, 1),
                "machine": platform.processor() or platform.machine(),
                "cores": psutil.cpu_count(),
            }
        )
    )
    return 1 if outcomes["failed"] or outcomes["mixed up"] else 0


def ask_all(users: list[User], seconds: float, process: psutil.Process) -> list[float]:
    """Let all users ask at once; returns the server's resident memory in MB, by time."""
    ends = time.monotonic() + seconds
    threads = [threading.Thread(target=user.ask_until, args=(ends,), daemon=True) for user in users]
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        memory.append(process.memory_info().rss / 1e6)
        time.sleep(SAMPLE_S)
    return memory


@contextmanager
def server() -> "Iterator[tuple[str, psutil.Process]]":
    """The app in a process of its own; its address and process."""
    port = free_port()
    child = subprocess.Popen([sys.executable, __file__, "--serve", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        if not address:
            raise SystemExit("the server did not start")
        yield address, psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait()


def serve_scripted(port: int) -> None:
    """Serve until the process is ended."""
    from apps.web.serving import serve
    from apps.web.session import Session
    from pipelines.engines.base import Call
    from pipelines.engines.scripted import ScriptedEngine

    def repeat(call: Call) -> str:
        (mark,) = set(MARK.findall(call.messages[-1]["content"]))
        if call.task == "code_generation":
            return f"```python\ndef answer() -> str:\n    return '{mark}'\n```"
        return f"{mark} " + "was here and said a word or two. " * 5

    def token() -> None:
        time.sleep(TOKEN_S)
        engine.calls.clear()  # kept for tests; here they would look like a leak

    engine = ScriptedEngine(repeat, on_token=token)
    # All users have one address here, so that the limit of requests of an address is not what is tested.
    served = serve(Session("scripted", lambda: engine), port=port, minute_limit=10**9)
    print(served.address, flush=True)
    served.wait()


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    raise SystemExit(main())
