"""Statistics of what is written, gathered slab by slab so that a volume need not be read again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""(start, stop) along z, y and x."""


@dataclass(frozen=True)
class SlabStatistics:
    """Minimum, maximum, mean and sum of squared deviations from it, of `count` values."""

    count: int
    minimum: float
    maximum: float
    mean: float
    deviation: float

    @property
    def rms(self) -> float:
        """Standard deviation."""
        return math.sqrt(self.deviation / self.count)


def measure(values: np.ndarray) -> SlabStatistics:
    """Statistics of an array of a few megabytes, in double precision."""
    with np.errstate(invalid="ignore"):
        wide = values.astype(np.float64).ravel()
        # Of the wide numbers: NumPy compares those of half precision one at a time.
        low, high, mean = float(wide.min()), float(wide.max()), float(wide.mean())
        wide -= mean
        return SlabStatistics(values.size, low, high, mean, float(wide @ wide))


def combine(slabs: Sequence[SlabStatistics]) -> SlabStatistics:
    """Statistics of all slabs together."""
    count = sum(slab.count for slab in slabs)
    mean = sum(slab.count * slab.mean for slab in slabs) / count
    deviation = sum(slab.deviation + slab.count * (slab.mean - mean) ** 2 for slab in slabs)
    # Unlike Python's, numpy's minimum and maximum let a NaN through wherever it stands.
    minimum, maximum = np.min([slab.minimum for slab in slabs]), np.max([slab.maximum for slab in slabs])
    return SlabStatistics(count, float(minimum), float(maximum), mean, deviation)


def overlaps(boxes: Sequence[Box]) -> bool:
    """Whether any two boxes share a voxel."""
    sides = np.array(boxes)
    # Only neighbours along z can meet: sorted by z, each is compared with those that start before it ends.
    sides = sides[np.argsort(sides[:, 0, 0], kind="stable")]
    last = np.searchsorted(sides[:, 0, 0], sides[:, 0, 1])
    for k, box in enumerate(sides):
        others = sides[k + 1 : last[k]]
        if ((others[:, :, 0] < box[:, 1]) & (box[:, 0] < others[:, :, 1])).all(axis=1).any():
            return True
    return False
