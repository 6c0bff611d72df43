"""Electrons counted one by one, and points spread on a grid, for CPUs, in Numba.

Every pixel and every electron draws from its own place in one sequence of numbers (SplitMix64), so that a seed gives
the same counts whatever the order of the work.
"""

# Numba infers the types of what it compiles.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
# ruff: noqa: PLR0917

from __future__ import annotations

import math

import numpy as np
from numba import njit

_SPLIT = 32.0
"""Expected counts beyond this are drawn as a sum of smaller ones, whose probabilities do not underflow."""

TILE = 64
"""Side of the parts of a frame in which electrons are drawn one after another, px."""

_SMALL = 2.0
_TERMS = 9


@njit(nogil=True, cache=True, inline="always")
def _uniform(seed, index):
    """A number in (0, 1) that belongs to a place in the sequence."""
    z = np.uint64(seed) + (np.uint64(index) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    # 52 bits: with one more, the last numbers would be rounded to 1.
    return (np.float64(z >> np.uint64(12)) + 0.5) / 4503599627370496.0


@njit(nogil=True, cache=True, inline="always")
def _poisson(mean, uniform):
    """A count whose cumulative probability first reaches `uniform`."""
    probability = math.exp(-mean)
    reached, count = probability, 0
    while reached < uniform and count < 400:
        count += 1
        probability *= mean / count
        reached += probability
    return count


@njit(nogil=True, cache=True)
def draw_counts(contrast, mean, sensitivity, extra, seed, counts):
    """Fill `counts` with Poisson numbers of mean · (1 + contrast) · sensitivity + extra; no mean is below zero.

    Args:
        contrast: (rows, columns), relative to the mean.
        mean: Expected electrons in a pixel without contrast.
        sensitivity: (rows, columns), share that a pixel counts.
        extra: (rows, columns), expected counts without electrons.
        seed: Start of the sequence.
        counts: (rows, columns), unsigned integers; what does not fit is held at the largest.
    """
    rows, columns = contrast.shape
    largest = 255 if counts.itemsize == 1 else 65535
    expected, uniform, reached = np.empty(columns), np.empty(columns), np.empty(columns)
    drawn = np.empty(columns, np.int64)
    for r in range(rows):
        for c in range(columns):
            expected[c] = max(mean * (1.0 + contrast[r, c]), 0.0) * sensitivity[r, c] + extra[r, c]
            uniform[c] = _uniform(seed, (r * columns + c) * 64)
        _draw_small(expected, uniform, reached, drawn)
        for c in range(columns):
            if expected[c] > _SMALL or uniform[c] > reached[c]:
                drawn[c] = _draw_large(expected[c], seed, (r * columns + c) * 64)
            counts[r, c] = min(drawn[c], largest)


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _draw_small(expected, uniform, reached, drawn):
    """Counts of small means without a branch, up to `_TERMS`; `reached` says up to which number that is right."""
    for c in range(len(expected)):
        mean = min(expected[c], _SMALL)
        x = -mean / 8
        e = 1 + x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6 * (1 + x / 7 * (1 + x / 8)))))))
        e *= e
        e *= e
        probability = e * e
        total, count = probability, 0
        for k in range(1, _TERMS):
            count += uniform[c] > total
            probability *= mean / k
            total += probability
        drawn[c] = count
        reached[c] = total


@njit(nogil=True, cache=True)
def _draw_large(mean, seed, index):
    """A count of any mean, as a sum of counts whose probabilities do not underflow."""
    parts = int(mean / _SPLIT) + 1
    total = 0
    for part in range(parts):
        total += _poisson(mean / parts, _uniform(seed, index + part))
    return total


@njit(nogil=True, cache=True)
def spread_points(position, weight, grid):
    """Add points to grids by cubic B-splines, which wrap around the edges.

    Args:
        position: (points, 2), row and column of each, px.
        weight: (points, grids).
        grid: (grids, rows, columns), added to.
    """
    grids, rows, columns = grid.shape
    low, high = np.empty(4), np.empty(4)
    for p in range(len(position)):
        r, c = math.floor(position[p, 0]), math.floor(position[p, 1])
        _weights(position[p, 0] - r, low)
        _weights(position[p, 1] - c, high)
        for i in range(4):
            row = (int(r) - 1 + i) % rows
            for j in range(4):
                column = (int(c) - 1 + j) % columns
                share = low[i] * high[j]
                for g in range(grids):
                    grid[g, row, column] += share * weight[p, g]


@njit(nogil=True, cache=True, inline="always")
def _weights(t, w):
    s = 1.0 - t
    w[0] = s * s * s / 6.0
    w[1] = 2.0 / 3.0 - t * t * (1.0 - 0.5 * t)
    w[2] = 2.0 / 3.0 - s * s * (1.0 - 0.5 * s)
    w[3] = t * t * t / 6.0


@njit(nogil=True, cache=True, inline="always")
def _sample(source, row, column, low, high):
    """A cubic B-spline with coefficients `source` at a place; beyond the edges it is held."""
    rows, columns = source.shape[:2]
    row, column = min(max(row, 1.0), rows - 2.001), min(max(column, 1.0), columns - 2.001)
    r, c = int(row), int(column)
    _weights(row - r, low)
    _weights(column - c, high)
    total = 0.0
    for i in range(4):
        part = 0.0
        for j in range(4):
            part += high[j] * source[r - 1 + i, c - 1 + j]
        total += low[i] * part
    return total


@njit(nogil=True, cache=True)
def draw_events(coefficients, grid, moved, spacing, sensitivity, bounds, seed, trials, places):
    """Electrons of one frame at continuous places, by drawing places and keeping them with their probability.

    Places are drawn tile by tile, so that the field under a tile stays in the cache.

    Args:
        coefficients: (rows, columns), cubic B-spline coefficients of 1 + contrast on the field.
        grid: Row and column of the frame's first pixel in the field, and samples of the field to a pixel of the frame.
        moved: (2, i, j), coefficients of the displacement from a place in the frame to the micrograph, px.
        spacing: Pixels between nodes of `moved`, whose node 1 lies on the frame's first pixel.
        sensitivity: (rows, columns) of the frame.
        bounds: No density of the field is below the first; none, times a sensitivity, above the second.
        seed: Start of the sequence.
        trials: Places to draw in each tile of `TILE` pixels a side, the last ones smaller.
        places: (trials in all, 2), filled from the start with the row and column of what was kept, px.

    Returns:
        Number of electrons kept.
    """
    rows, columns = sensitivity.shape
    low, high = np.empty(4), np.empty(4)
    drawn, kept = 0, 0
    for tile_row in range(trials.shape[0]):
        top, height = tile_row * TILE, min(TILE, rows - tile_row * TILE)
        for tile_column in range(trials.shape[1]):
            left, width = tile_column * TILE, min(TILE, columns - tile_column * TILE)
            for n in range(drawn, drawn + trials[tile_row, tile_column]):
                row = top + _uniform(seed, 3 * n) * height - 0.5
                column = left + _uniform(seed, 3 * n + 1) * width - 0.5
                # Where the numbers are coarse, the last place in a tile is rounded to the next one.
                pixel = sensitivity[min(int(row + 0.5), rows - 1), min(int(column + 0.5), columns - 1)]
                chance = _uniform(seed, 3 * n + 2) * bounds[1]
                # Below the lower bound it is kept whatever the field says.
                if chance >= bounds[0] * pixel:
                    node_row, node_column = 1.0 + row / spacing[0], 1.0 + column / spacing[1]
                    source_row = grid[0] + grid[2] * (row + _sample(moved[0], node_row, node_column, low, high))
                    source_column = grid[1] + grid[3] * (column + _sample(moved[1], node_row, node_column, low, high))
                    if chance >= _sample(coefficients, source_row, source_column, low, high) * pixel:
                        continue
                places[kept, 0], places[kept, 1] = row, column
                kept += 1
            drawn += trials[tile_row, tile_column]
    return kept
