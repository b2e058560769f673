"""Speed of the suite against plain transformers, on this machine. `make bench`, and `make bench-gpu` on CUDA.

Both sides run the same weights and prompts in one process, in turn (A B A B …), so that a machine whose speed drifts
slows both; medians are compared. A table comes first, and the last line is one JSON object.
"""

import argparse
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from typing import Any

MODEL = "smollm2-135m"


def help_cpu_seconds(rounds: int) -> float:
    """CPU seconds of ``cinquain --help``: user and system, median."""
    figures = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "apps.cli", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        figures.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(figures)


def page_ready_seconds() -> float:
    """Seconds from ``cinquain ui`` to a page that answers and a model that is loaded."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    command = [sys.executable, "-m", "apps.cli", "ui", "--model", MODEL, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - started < 120:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                    if page.status == 200:
                        return time.perf_counter() - started
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("the page did not answer within 120 s")
    finally:
        server.terminate()
        server.wait()


def generation(model: str, device: str, rounds: int, only: str) -> dict[str, Any]:
    """The table of tokens per second, and the time to a chat's first tokens."""
    from generation import compare, first_tokens, load

    translate = load(model, device=device)
    figures, chat = {}, None
    print(f"{'':36}{'ours':>10}{'plain':>10}{'ratio':>8}", flush=True)
    for name, row in compare(translate, rounds, only):
        figures[name] = row
        numbers = f"{row['ours']:10.1f}{row['plain']:10.1f}{row['ratio']:8.2f}"
        print(f"{name:36}{numbers}   tokens/s", flush=True)
    if only in (line := "first token, turn 1 and turn 8"):
        chat = first_tokens(translate, rounds)
        print(f"{line:36}{chat['first']:10.3f}{chat['last']:10.3f}{chat['ratio']:8.2f}   s", flush=True)
    return {"model": model, "engine": translate.engine.provenance(), "tokens_per_s": figures, "first_token_s": chat}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch
    import transformers

    return {
        "processor": platform.processor() or platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default=MODEL, help="a model reference; a causal chat model")
    parser.add_argument("--build", metavar="FOLDER", help="build a model of 1.2 billion random parameters there first")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workload", default="", help="only lines whose name holds this")
    parser.add_argument("--only", choices=["generation", "start"], help="measure one part")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"schema_version": 2, "load_before": os.getloadavg()[0]}
    if arguments.build:
        from build_model import build

        arguments.model = str(build(arguments.build))
    if arguments.only != "generation":
        result["help_cpu_s"] = help_cpu_seconds(arguments.rounds)
        result["page_ready_s"] = page_ready_seconds()
    if arguments.only != "start":
        result["generation"] = generation(arguments.model, arguments.device, arguments.rounds, arguments.workload)
    for name, unit in (("help_cpu_s", "s of CPU"), ("page_ready_s", "s")):
        if name in result:
            print(f"{name:36}{result[name]:10.2f}   {unit}")
    print(json.dumps({**result, "machine": machine()}))


if __name__ == "__main__":
    main()
