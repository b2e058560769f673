"""What a run costs beside what it scores: tokens a second, latency, processor time, memory, energy."""

import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from eval.energy import EnergyMeter

__all__ = ["Meter", "summary"]


class Meter:
    """Measures the work of this process on rows that are asked together.

    Args:
        device: What computes. None for a server elsewhere: what this process takes says nothing of it.
    """

    def __init__(self, device: str | None) -> None:
        self._device = device
        self._energy = EnergyMeter(device) if device else None
        self._began, self._cpu = time.perf_counter(), _cpu_seconds()

    def window(self, rows: int, prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
        """The figures since this meter was made, as a line of the records; None where it cannot be told."""
        return {
            "kind": "window",
            "rows": rows,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "wall_s": time.perf_counter() - self._began,
            "cpu_s": _cpu_seconds() - self._cpu if self._device else None,
            "peak_memory": _peak_memory() if self._device else None,
            "peak_gpu_memory": _peak_gpu_memory() if self._device and self._device.startswith("cuda") else None,
            "joules": self._energy.joules() if self._energy else None,
        }


def summary(
    windows: Sequence[tuple[str, dict[str, Any]]], seconds: Sequence[float], alone: Sequence[float]
) -> dict[str, Any]:
    """The costs of a run; what the machine cannot tell is None.

    Args:
        windows: Of each process, by a name of its own, the lines of ``Meter.window``.
        seconds: Of each row that was answered; see ``Record.seconds``.
        alone: Of the rows that were asked once more by themselves.

    Returns:
        ``prompt_tokens``, ``completion_tokens``; ``wall_s`` of the slowest process and ``tokens_per_s`` of all;
        ``p50_s`` and ``p95_s`` of the rows, from the start of those that were asked together; ``alone_s``, the
        median of those that were asked by themselves; ``cpu_s``, ``peak_memory`` and ``peak_gpu_memory`` in bytes, of
        the largest process, and ``joules``.
    """
    wall: dict[str, float] = defaultdict(float)
    for process, window in windows:
        wall[process] += window["wall_s"]
    slowest = max(wall.values(), default=0.0)
    figures = [window for _, window in windows]
    written = sum(window["completion_tokens"] for window in figures)
    return {
        "prompt_tokens": sum(window["prompt_tokens"] for window in figures),
        "completion_tokens": written,
        "wall_s": slowest,
        "tokens_per_s": written / slowest if slowest else None,
        "p50_s": _quantile(seconds, 0.5),
        "p95_s": _quantile(seconds, 0.95),
        "alone_s": _quantile(alone, 0.5),
        "cpu_s": _all(sum, [window["cpu_s"] for window in figures]),
        "peak_memory": _all(max, [window["peak_memory"] for window in figures]),
        "peak_gpu_memory": _all(max, [window["peak_gpu_memory"] for window in figures]),
        "joules": _all(sum, [window["joules"] for window in figures]),
    }


def _all(together: Any, values: list[float | None]) -> float | None:
    """A sum with a part that nobody knows is not known."""
    return together(values) if values and None not in values else None


def _quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of the values does not exceed."""
    if not values:
        return None
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]


def _cpu_seconds() -> float:
    import psutil

    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def _peak_memory() -> int:
    """Bytes that this process held at most, since it began."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # the one counts bytes, the other kilobytes


def _peak_gpu_memory() -> int:
    import torch

    return torch.cuda.max_memory_allocated()
