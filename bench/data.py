"""Speed and memory of data preparation on this machine, on rows made up here. `make bench-data`.

A table of rows a second for each step comes first, on one core; then whole preparations of more and more rows, which
take near-linear time; the last line is one JSON object. With ``--megabytes`` one file of that size is prepared, and the
most memory that each process held is shown.
"""

import argparse
import json
import os
import platform
import random
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROWS = (10_000, 100_000, 1_000_000)
SYLLABLES = ("ka", "ri", "mo", "ten", "sul", "ver", "da", "lo", "pin", "gar", "eth", "wys", "bon", "cle", "fra", "tol")
COMMON = ("the", "of", "and", "to", "in", "is", "that", "for", "it", "was", "on", "are", "with", "as", "at", "this")


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS, help="sizes of whole preparations")
    parser.add_argument("--words", type=int, default=30, help="words of a row's text")
    parser.add_argument("--megabytes", type=int, default=0, help="measure the memory for a file of this size")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--processes", type=int, default=None)
    options = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from pipelines.provenance import environment

    result: dict[str, Any] = {**environment(), "words": options.words}
    with tempfile.TemporaryDirectory() as folder:
        if options.megabytes:
            result["memory"] = memory(Path(folder), options)
        else:
            result["rows_per_second"] = steps(options)
            result["whole"] = [whole(Path(folder), rows, options) for rows in options.rows]
    print(json.dumps(result))


def made_up(words: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """Rows of a summarization set without end: words that look like words, an address in one of fifty."""
    draw = random.Random(seed)
    vocabulary = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(5000)]

    def text(count: int) -> str:
        return " ".join(draw.choices(COMMON, k=count // 2) + draw.choices(vocabulary, k=count - count // 2)) + "."

    while True:
        mail = f" Write to {draw.choice(vocabulary)}@example.org." if draw.random() < 0.02 else ""
        yield {"text": text(words) + mail, "summary": text(max(5, words // 5))}


def write_file(path: Path, words: int, *, rows: int = 0, size: int = 0) -> Path:
    """A JSONL file with so many rows, or bytes."""
    with path.open("w") as file:
        for number, row in enumerate(made_up(words)):
            if number == rows > 0 or (size and file.tell() >= size):
                return path
            file.write(json.dumps(row) + "\n")
    return path


def steps(options: argparse.Namespace) -> dict[str, int]:
    """Rows a second of each step that looks at one row, and of what duplicates need, on one core."""
    from itertools import islice

    from finetune.data import Source
    from finetune.data.duplicates import key, signatures
    from finetune.data.records import Record
    from finetune.data.rendering import Renderer
    from finetune.data.shapes import recognise
    from finetune.data.steps import steps as row_steps
    from finetune.data.too_long import too_long

    config, count = configured(Path("rows.jsonl"), options), 2000
    source = Source(path="rows.jsonl", name="rows")
    every = [*row_steps(config), ("too_long", too_long(Renderer.load(config.model, config.task), config))]
    records = [Record(f"rows:{n}", row) for n, row in enumerate(islice(made_up(options.words), count))]
    timed: dict[str, list[float]] = {}
    rounds = 4
    for _ in range(rounds):
        rows: list[Any] = []
        with_time(
            timed, "recognise", lambda rows=rows: rows.extend(recognise(r, source, "summarization") for r in records)
        )
        rows = [row for outcome in rows for row in outcome.rows]
        for name, step in every:
            after: list[Any] = []
            with_time(timed, name, lambda a=after, r=rows, s=step: a.extend(s(row) for row in r))
            rows = [row for outcome in after for row in outcome.rows]
        with_time(timed, "keys", lambda rows=rows: [key(row, "summarization") for row in rows])
        with_time(timed, "signatures", lambda rows=rows: signatures(rows, "summarization"))
    # The first round loads what each step needs.
    speeds = {name: round(count / statistics.median(seconds[1:])) for name, seconds in timed.items()}
    print(f"{'step':14} rows/s on one core, {options.words} words a row")
    for name, speed in speeds.items():
        print(f"{name:14} {speed:>12,}", flush=True)
    return speeds


def with_time(timed: dict[str, list[float]], name: str, work: Any) -> None:
    """Do something and note its seconds."""
    began = time.perf_counter()
    work()
    timed.setdefault(name, []).append(time.perf_counter() - began)


def whole(folder: Path, rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a whole preparation, by phase."""
    from finetune.data.prepare import prepare

    path = write_file(folder / f"{rows}.jsonl", options.words, rows=rows)
    began = time.perf_counter()
    ledger = prepare(configured(path, options), folder / f"out{rows}", processes=options.processes)
    seconds = time.perf_counter() - began
    assert ledger.read == rows
    assert not ledger.problems()
    phases = ledger.provenance["seconds"]
    print(f"{rows:>12,} rows {seconds:9.1f} s {rows / seconds:9,.0f} rows/s  {phases}", flush=True)
    return {"rows": rows, "seconds": round(seconds, 1), "processes": ledger.provenance["processes"], "phases": phases}


def memory(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The most memory that the program and each of its workers held, in megabytes, while they prepared a file."""
    import psutil

    from finetune.data.prepare import prepare

    path = write_file(folder / "rows.jsonl", options.words, size=options.megabytes * 1_000_000)
    print(f"{path.stat().st_size / 1e6:,.0f} MB written", flush=True)
    largest: dict[int, float] = {}
    done = threading.Event()

    def watch() -> None:
        # Private memory: the pages of a mapped file count as the system's, which takes them back when it wants them.
        while not done.wait(0.2):
            program = psutil.Process()
            for process in (program, *program.children(recursive=True)):
                try:
                    held = process.memory_full_info().uss / 1e6
                except psutil.Error:
                    continue
                largest[process.pid] = max(largest.get(process.pid, 0), held)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        ledger = prepare(configured(path, options), folder / "out", processes=options.processes)
    finally:
        done.set()
        watcher.join()
    seconds = time.perf_counter() - began
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024) / 1e6
    own = largest.pop(os.getpid(), 0.0)
    workers = sorted((round(held) for held in largest.values()), reverse=True)
    phases = ledger.provenance["seconds"]
    print(
        f"{ledger.read:,} rows {seconds:.0f} s, "
        f"program {own:,.0f} MB at most ({resident:,.0f} with the pages of files), "
        f"workers {workers} MB, {phases}",
        flush=True,
    )
    return {
        "rows": ledger.read,
        "seconds": round(seconds),
        "program_mb": round(own),
        "program_resident_mb": round(resident),
        "workers_mb": workers,
        "phases": phases,
    }


def configured(path: Path, options: argparse.Namespace) -> Any:
    """All steps on, with their defaults."""
    from finetune.data import DataConfig, Source

    return DataConfig(task="summarization", sources=[Source(path=str(path))], model=options.model, too_long="drop")


if __name__ == "__main__":
    main()
