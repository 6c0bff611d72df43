"""What a core can do at most, measured now: memory bandwidth by a large copy, arithmetic by a matrix product.

All times are CPU seconds, which other jobs on the cores disturb least.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Limits:
    """Ceilings of one core.

    Args:
        bandwidth: Bytes read or written in a copy, per second.
        multiply_adds: Fused multiply-adds in single precision, per second.
    """

    bandwidth: float
    multiply_adds: float

    def floor(self, *, moved: float, multiply_adds: float) -> tuple[float, str]:
        """Least seconds for bytes moved and multiply-adds, and which of them decides."""
        memory, arithmetic = moved / self.bandwidth, multiply_adds / self.multiply_adds
        return (memory, "memory bandwidth") if memory > arithmetic else (arithmetic, "arithmetic")


def cpu_seconds(work: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
    """Least CPU and wall seconds of some runs, after one that compiles and warms up."""
    work()
    cpu, wall = [], []
    for _ in range(repeats):
        started, started_wall = time.process_time(), time.perf_counter()
        work()
        cpu.append(time.process_time() - started)
        wall.append(time.perf_counter() - started_wall)
    return min(cpu), min(wall)


def measure_limits(side: int = 1024, copied: int = 1 << 28) -> Limits:
    """Limits of one core: a copy of 256 MB, a product of `side` × `side` matrices."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        source = torch.zeros(copied // 4)
        target = torch.empty_like(source)
        copy, _ = cpu_seconds(lambda: target.copy_(source))
        left, right = torch.randn(side, side), torch.randn(side, side)
        product, _ = cpu_seconds(lambda: left @ right, 5)
    finally:
        torch.set_num_threads(threads)
    return Limits(2 * copied / copy, side**3 / product)
