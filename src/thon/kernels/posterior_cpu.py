"""Posteriors of poses for CPUs, in Numba."""

# Numba infers the types of what it compiles.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import math

import numpy as np
from numba import njit

STEP = 0.25
"""Poses are kept by steps of so much of the logarithm of their weights."""

STEPS = 120
"""Poses beyond so many steps below the best are never kept."""


@njit(nogil=True, cache=True)
def posterior(scores, particles, share, most, weights, largest, likelihood, significant):
    """Fill weights, largest, likelihood and significant; see `thon.kernels.posterior`."""
    count, (rows, children) = len(largest), scores.shape
    best = np.full(count, -np.inf, np.float32)
    for row in range(rows):
        i = particles[row]
        for c in range(children):
            best[i] = max(best[i], scores[row, c])
    sums, numbers = np.zeros((count, STEPS + 1)), np.zeros((count, STEPS + 1), np.int64)
    scale = np.float32(1 / STEP)
    for row in range(rows):
        i = particles[row]
        for c in range(children):
            below = best[i] - scores[row, c]
            step = min(np.int64(below * scale), STEPS) if below < 1e9 else STEPS
            weight = math.exp(-np.float64(below))
            weights[row, c] = weight
            sums[i, step] += weight
            numbers[i, step] += 1
    last, kept = np.empty(count, np.int64), np.empty(count)
    for i in range(count):
        total, held, number, step = sums[i].sum(), 0.0, 0, 0
        while step < STEPS and held < share * total and number < most:
            held += sums[i, step]
            number += numbers[i, step]
            step += 1
        last[i], kept[i], significant[i] = step, held, number
        largest[i] = 1 / total if total > 0 else 0
        likelihood[i] = best[i] + math.log(total) if total > 0 else -np.inf
    for row in range(rows):
        i = particles[row]
        for c in range(children):
            below = best[i] - scores[row, c]
            step = min(np.int64(below * scale), STEPS) if below < 1e9 else STEPS
            weights[row, c] = weights[row, c] / kept[i] if step < last[i] else 0
