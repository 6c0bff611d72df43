"""Smooth warps for CPUs, in Numba: runs of pixels whose sixteen taps move on together, so that loads are contiguous."""

# Numba infers the types of what it compiles.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
# ruff: noqa: PLR0917

from __future__ import annotations

import math

import numpy as np
from numba import njit

_FAST = {"contract", "nnan", "ninf", "nsz", "reassoc"}


def add_warped(total: np.ndarray, coefficients: np.ndarray, field: np.ndarray, step: int) -> None:
    """Add the image with these spline coefficients, warped by the field, to `total`."""
    _warp(total, coefficients, np.ascontiguousarray(field.transpose(2, 0, 1)), step)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _weights(t):
    """The four cubic B-spline weights of a place t beyond the second tap, single precision."""
    sixth, centre, half, one = np.float32(1 / 6), np.float32(2 / 3), np.float32(0.5), np.float32(1)
    s = one - t
    return t, s * s * s * sixth, centre - t * t * (one - half * t), centre - s * s * (one - half * s), t * t * t * sixth


@njit(nogil=True, cache=True, fastmath=_FAST)
def _run(target, first, second, third, fourth, y, slope_y, x, slope_x):
    """Add a run of pixels; y and x are the fractions at its first pixel, the four lines start at its first tap."""
    for i in range(len(target)):
        step = np.float32(i)
        _, y0, y1, y2, y3 = _weights(y + slope_y * step)
        _, x0, x1, x2, x3 = _weights(x + slope_x * step)
        line = y0 * first[i] + y1 * second[i] + y2 * third[i] + y3 * fourth[i]
        line_1 = y0 * first[i + 1] + y1 * second[i + 1] + y2 * third[i + 1] + y3 * fourth[i + 1]
        line_2 = y0 * first[i + 2] + y1 * second[i + 2] + y2 * third[i + 2] + y3 * fourth[i + 2]
        line_3 = y0 * first[i + 3] + y1 * second[i + 3] + y2 * third[i + 3] + y3 * fourth[i + 3]
        target[i] += x0 * line + x1 * line_1 + x2 * line_2 + x3 * line_3


@njit(nogil=True, cache=True)
def _one(coefficients, y, x):
    """Value at one place, near an edge or beyond."""
    rows, columns = coefficients.shape
    if y < -0.5 or y >= rows - 0.5 or x < -0.5 or x >= columns - 0.5:
        return np.float32(0)
    m, n = math.floor(y), math.floor(x)
    low, high = _weights(np.float32(y - m)), _weights(np.float32(x - n))
    value = np.float32(0)
    for i in range(4):
        line = coefficients[(m - 1 + i) % rows]
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
def _warp(total, coefficients, field, step):
    rows, columns = total.shape
    image_rows, image_columns = coefficients.shape
    line_y, line_x = np.empty(field.shape[2]), np.empty(field.shape[2])
    for i in range(rows):
        node = min(i // step, field.shape[1] - 2)
        part = i / step - node
        for n in range(field.shape[2]):
            line_y[n] = (1 - part) * field[0, node, n] + part * field[0, node + 1, n]
            line_x[n] = (1 - part) * field[1, node, n] + part * field[1, node + 1, n]
        for n in range(min(field.shape[2] - 1, (columns - 1) // step + 1)):
            start, stop = n * step, min((n + 1) * step, columns)
            slope_y, slope_x = (line_y[n + 1] - line_y[n]) / step, (line_x[n + 1] - line_x[n]) / step
            j = start
            while j < stop:
                y, shift = i + line_y[n] + slope_y * (j - start), line_x[n] + slope_x * (j - start)
                count = _reach(shift, slope_x, _reach(y, slope_y, stop - j))
                m, offset = math.floor(y), math.floor(shift)
                left = j + offset - 1
                if m >= 1 and m < image_rows - 2 and left >= 0 and left + count + 3 <= image_columns:
                    end = left + count + 3
                    _run(
                        total[i, j : j + count], coefficients[m - 1, left:end], coefficients[m, left:end],
                        coefficients[m + 1, left:end], coefficients[m + 2, left:end],
                        np.float32(y - m), np.float32(slope_y), np.float32(shift - offset), np.float32(slope_x),
                    )  # fmt: skip
                else:
                    for k in range(count):
                        total[i, j + k] += _one(coefficients, y + slope_y * k, j + k + shift + slope_x * k)
                j += count
