"""Where numbers come from besides the model: this program, this machine."""

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["environment"]


@cache
def environment() -> dict[str, str | int]:
    """Versions of Cinquain and Python, and the processor. Plain JSON data, the same throughout a process."""
    try:
        own = version("cinquain")
    except PackageNotFoundError:  # run from a folder that was never installed, as a Space does
        own = "unknown"
    return {
        "cinquain": own,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
    }


def _processor() -> str:
    """The processor's name; Linux tells it only in a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
