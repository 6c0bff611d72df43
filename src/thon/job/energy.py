"""The energy that a machine takes while a job runs: processors and their memory by RAPL, GPUs by NVML.

It is the machine's, whoever else uses it meanwhile. The processors' counters start anew every hour or so, so a thread
reads them now and then. Kernels since 5.10 let only root read them, unless the machine's owner decided otherwise.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thon.job.nvml import Gpu

POWERCAP = Path("/sys/class/powercap")
PERIOD = 60.0
"""Time between two looks, s: a counter of 262 kJ lasts 11 minutes at 400 W."""

_ZONE = re.compile(r"intel-rapl:\d+(:\d+)?$")


@dataclass
class _Counter:
    """One of the processors' counters, µJ; it starts anew after `span`."""

    file: Path
    span: int
    last: int = 0
    total: int = 0

    def look(self) -> None:
        value = int(self.file.read_text())
        self.total += value - self.last if value >= self.last else value - self.last + self.span
        self.last = value


class EnergyMeter:
    """Counts joules from where it is made; a thread sees to it until it is stopped.

    Args:
        gpus: The GPUs that the job holds.
        powercap: The folder of the processors' counters.
    """

    def __init__(self, gpus: Sequence[Gpu] = (), powercap: Path = POWERCAP):
        self._counters = _counters(powercap)
        self._gpus = [(gpu, before) for gpu in gpus if (before := gpu.energy()) is not None]
        self._over = threading.Event()
        self._looking = threading.Lock()
        if self._counters:
            threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> float | None:
        """Joules in all; None where the machine does not tell."""
        self._over.set()
        return self.read()

    def read(self) -> float | None:
        """Joules so far; None where the machine does not tell."""
        if not self._counters and not self._gpus:
            return None
        with self._looking:
            for counter in self._counters:
                counter.look()
        processors = sum(counter.total for counter in self._counters) / 1e6
        return round(processors + sum((gpu.energy() or before) - before for gpu, before in self._gpus), 3)

    def _watch(self) -> None:
        while not self._over.wait(PERIOD):
            self.read()


def _counters(powercap: Path) -> list[_Counter]:
    """The counters of whole processors and of their memory that this process may read."""
    found: list[_Counter] = []
    for zone in sorted(powercap.iterdir()) if powercap.is_dir() else ():
        try:
            name = (zone / "name").read_text().strip()
            if _ZONE.match(zone.name) and (name.startswith("package") or name == "dram"):
                file = zone / "energy_uj"
                found.append(_Counter(file, int((zone / "max_energy_range_uj").read_text()), int(file.read_text())))
        except (OSError, ValueError):
            continue
    return found
