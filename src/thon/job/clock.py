"""What an item takes in its own process: time, memory, bytes read and written."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

IO = Path("/proc/self/io")


class Clock:
    """Counts from where it is made.

    Args:
        gpus: Number of GPUs that are held meanwhile.
    """

    def __init__(self, gpus: int = 0) -> None:
        self._gpus = gpus
        self._start, self._cpu = time.monotonic(), time.process_time()
        self._io = bytes_moved()

    def read(self) -> dict[str, Any]:
        """Fields of a `Usage`."""
        seconds, cpu = time.monotonic() - self._start, time.process_time() - self._cpu
        read, fetched, written = (now - then for now, then in zip(bytes_moved(), self._io, strict=True))
        return {
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu, 3),
            "gpu_seconds": round(seconds * self._gpus, 3),
            "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "bytes_read": max(read, fetched),  # pages of mapped files are fetched, not asked for
            "bytes_written": written,
        }


def bytes_moved() -> tuple[int, int, int]:
    """Bytes that this process has asked of files, fetched from disks, and written; zeros where nobody counts them."""
    try:
        counts = dict(line.split(": ") for line in IO.read_text().splitlines())
    except (OSError, ValueError):
        return 0, 0, 0
    return int(counts["rchar"]), int(counts["read_bytes"]), int(counts["wchar"])
