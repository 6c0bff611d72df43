"""Halving of an image for CPUs, in Numba: one pass over it, a row of the result at a time."""

# Numba infers the types of what it compiles.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np
from numba import njit

_FAST = {"contract", "nnan", "nsz", "reassoc"}


def halve(image: np.ndarray, level: float, bound: float, half: np.ndarray) -> None:
    """Fill `half` with the image at half the size."""
    _halve(image, np.float32(level), np.float32(bound), half)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _mix(above, first, second, below, level, bound, mixed):
    outer, inner = np.float32(0.125), np.float32(0.375)
    for j in range(len(mixed)):
        a = min(max(above[j] - level, -bound), bound)
        b = min(max(first[j] - level, -bound), bound)
        c = min(max(second[j] - level, -bound), bound)
        d = min(max(below[j] - level, -bound), bound)
        mixed[j] = outer * (a + d) + inner * (b + c)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _halve(image, level, bound, half):
    rows, columns = image.shape
    outer, inner = np.float32(0.125), np.float32(0.375)
    mixed = np.empty(columns, np.float32)
    last = half.shape[1] - 1
    for i in range(half.shape[0]):
        first = 2 * i
        above, below = image[max(first - 1, 0)], image[min(first + 2, rows - 1)]
        _mix(above, image[first], image[first + 1], below, level, bound, mixed)
        target = half[i]
        for j in range(1, last):
            target[j] = outer * (mixed[2 * j - 1] + mixed[2 * j + 2]) + inner * (mixed[2 * j] + mixed[2 * j + 1])
        target[0] = outer * (mixed[0] + mixed[2]) + inner * (mixed[0] + mixed[1])
        end = mixed[min(2 * last + 2, columns - 1)]
        target[last] = outer * (mixed[2 * last - 1] + end) + inner * (mixed[2 * last] + mixed[2 * last + 1])
