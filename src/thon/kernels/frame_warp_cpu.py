"""Smooth warps for CPUs, in Numba: runs of pixels whose sixteen taps move on together, so that loads are contiguous."""

# Numba infers the types of what it compiles.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
# ruff: noqa: PLR0917

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

_FAST = {"contract", "nnan", "ninf", "nsz", "reassoc"}


_ROWS = 16  # rows of the sums that stay in the cache while all images are added to them


def add_warped(
    totals: np.ndarray,
    images: list[np.ndarray],
    levels: np.ndarray,
    fields: np.ndarray,
    weights: np.ndarray,
    step: int,
    *,
    threads: int,
) -> None:
    """Add images, warped by their fields and weighted, to each sum; blocks of rows are shared out among threads."""
    lines = np.ascontiguousarray(fields.transpose(0, 3, 1, 2))

    def add(start: int) -> None:
        rows = (start, min(start + _ROWS, totals.shape[1]))
        for image, level, field, weight in zip(images, levels, lines, weights, strict=True):
            _warp(totals, image, level, field, weight, step, *rows)

    blocks = range(0, totals.shape[1], _ROWS)
    if threads == 1:
        for start in blocks:
            add(start)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(add, blocks))


@njit(nogil=True, cache=True, fastmath=_FAST)
def _weights(t):
    """The four cubic B-spline weights of a place t beyond the second tap, single precision."""
    sixth, centre, half, one = np.float32(1 / 6), np.float32(2 / 3), np.float32(0.5), np.float32(1)
    s = one - t
    return t, s * s * s * sixth, centre - t * t * (one - half * t), centre - s * s * (one - half * s), t * t * t * sixth


@njit(nogil=True, cache=True, fastmath=_FAST)
def _run(target, first, second, third, fourth, y, slope_y, x, slope_x):
    """Fill a run of pixels; y and x are the fractions at its first pixel, the four lines start at its first tap."""
    for i in range(len(target)):
        step = np.float32(i)
        _, y0, y1, y2, y3 = _weights(y + slope_y * step)
        _, x0, x1, x2, x3 = _weights(x + slope_x * step)
        line = y0 * first[i] + y1 * second[i] + y2 * third[i] + y3 * fourth[i]
        line_1 = y0 * first[i + 1] + y1 * second[i + 1] + y2 * third[i + 1] + y3 * fourth[i + 1]
        line_2 = y0 * first[i + 2] + y1 * second[i + 2] + y2 * third[i + 2] + y3 * fourth[i + 2]
        line_3 = y0 * first[i + 3] + y1 * second[i + 3] + y2 * third[i + 3] + y3 * fourth[i + 3]
        target[i] = x0 * line + x1 * line_1 + x2 * line_2 + x3 * line_3


@njit(nogil=True, cache=True)
def _one(image, level, y, x):
    """Value at one place, near an edge or beyond."""
    rows, columns = image.shape
    if y < -0.5 or y >= rows - 0.5 or x < -0.5 or x >= columns - 0.5:
        return level
    m, n = math.floor(y), math.floor(x)
    low, high = _weights(np.float32(y - m)), _weights(np.float32(x - n))
    value = np.float32(0)
    for i in range(4):
        line = image[(m - 1 + i) % rows]
        for j in range(4):
            value += low[i + 1] * high[j + 1] * line[(n - 1 + j) % columns]
    return value


@njit(nogil=True, cache=True)
def _reach(value, slope, limit):
    """Pixels, at most `limit`, for which the whole part of value + slope · i stays that of the first."""
    if slope == 0:
        return limit
    room = (math.floor(value) + 1 - value) if slope > 0 else value - math.floor(value)
    far = room / abs(slope)
    if far >= limit:
        return limit
    count = math.ceil(far) if slope > 0 else math.floor(far) + 1
    return min(limit, max(1, count))


@njit(nogil=True, cache=True)
def _sample_row(sampled, image, level, i, line_y, line_x, step):
    """Fill a row with what the image shows where the row's field says, and with `level` beyond its edges."""
    rows, columns = image.shape
    for n in range(min(len(line_x) - 1, (len(sampled) - 1) // step + 1)):
        start, stop = n * step, min((n + 1) * step, len(sampled))
        slope_y, slope_x = (line_y[n + 1] - line_y[n]) / step, (line_x[n + 1] - line_x[n]) / step
        j = start
        while j < stop:
            y, shift = i + line_y[n] + slope_y * (j - start), line_x[n] + slope_x * (j - start)
            count = _reach(shift, slope_x, _reach(y, slope_y, stop - j))
            m, offset = math.floor(y), math.floor(shift)
            left = j + offset - 1
            low, high = min(count, max(0, -left)), max(0, min(count, columns - 3 - left))
            if m < 1 or m >= rows - 2 or high < low:
                low = high = count
            for k in range(low):
                sampled[j + k] = _one(image, level, y + slope_y * k, j + k + shift + slope_x * k)
            if high > low:
                here, end = left + low, left + high + 3
                _run(
                    sampled[j + low : j + high], image[m - 1, here:end], image[m, here:end], image[m + 1, here:end],
                    image[m + 2, here:end], np.float32(y + slope_y * low - m), np.float32(slope_y),
                    np.float32(shift + slope_x * low - offset), np.float32(slope_x),
                )  # fmt: skip
            for k in range(high, count):
                sampled[j + k] = _one(image, level, y + slope_y * k, j + k + shift + slope_x * k)
            j += count


@njit(nogil=True, cache=True, fastmath=_FAST)
def _accumulate(target, sampled, level, weight):
    for j in range(len(target)):
        target[j] += weight * (sampled[j] - level)


@njit(nogil=True, cache=True)
def _warp(totals, image, level, field, weights, step, first, last):
    line_y, line_x = np.empty(field.shape[2]), np.empty(field.shape[2])
    sampled = np.empty(totals.shape[2], np.float32)
    for i in range(first, last):
        node = min(i // step, field.shape[1] - 2)
        part = i / step - node
        for n in range(field.shape[2]):
            line_y[n] = (1 - part) * field[0, node, n] + part * field[0, node + 1, n]
            line_x[n] = (1 - part) * field[1, node, n] + part * field[1, node + 1, n]
        _sample_row(sampled, image, level, i, line_y, line_x, step)
        for r in range(len(totals)):
            if weights[r] != 0:
                _accumulate(totals[r, i], sampled, level, weights[r])
