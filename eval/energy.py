"""Energy, where the machine can tell: counters of NVIDIA's driver, or of the processor (RAPL)."""

import time
from pathlib import Path

__all__ = ["EnergyMeter"]

_RAPL = Path("/sys/class/powercap")


class EnergyMeter:
    """Measures from when it is made.

    Args:
        device: What computes; of a GPU its own counter is read.
        counters: Where Linux shows those of the processor.
    """

    def __init__(self, device: str, counters: Path = _RAPL) -> None:
        self._device, self._counters = device, counters
        self._since = time.perf_counter()
        self._begun = self._read()

    def joules(self) -> float | None:
        """Energy so far; None where this machine does not tell, which most virtual ones do not."""
        now = self._read()
        if self._begun is None or now is None:
            return None
        if self._device.startswith("cuda"):  # watts at both ends
            return (self._begun + now) / 2 * (time.perf_counter() - self._since)
        return now - self._begun if now > self._begun else None  # a counter that began anew says nothing

    def _read(self) -> float | None:
        if self._device.startswith("cuda"):
            import torch

            try:
                return torch.cuda.power_draw(self._device) / 1000
            except Exception:  # NVIDIA's management library is not installed, or forbidden in a container
                return None
        packages = sorted(self._counters.glob("intel-rapl:[0-9]*/energy_uj"))
        whole = [path for path in packages if path.parent.name.count(":") == 1]
        try:
            return sum(int(path.read_text()) for path in whole) / 1e6 if whole else None
        except (OSError, ValueError):  # readable by root only, since it can leak keys
            return None
