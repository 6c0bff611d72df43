"""Sums and scores of frame spectra for CPUs, in Numba: one pass over each, complex numbers as pairs of floats."""

# Numba infers the types of what it compiles.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
# ruff: noqa: PLR0917

from __future__ import annotations

import numpy as np
from numba import njit

_FAST = {"contract", "nnan", "ninf", "nsz", "reassoc"}


def add_aligned(
    total: np.ndarray,
    spectra: np.ndarray,
    row_ramp: np.ndarray,
    column_ramp: np.ndarray,
    index: np.ndarray,
    weights: np.ndarray,
) -> None:
    """Add Σ_k weights[k, index] · row_ramp[k] ⊗ column_ramp[k] · spectra[k] to `total`."""
    _add(_pairs(total), _pairs(spectra), _pairs(row_ramp), *_parts(column_ramp), index, weights)


def score_frames(
    frames: tuple[np.ndarray, np.ndarray, np.ndarray],
    frequencies: list[np.ndarray],
    weights: list[np.ndarray],
    sought: list[np.ndarray],
    found: np.ndarray,
) -> None:
    """Fill `found` `[frames, 5]` with scores and curvatures.

    Args:
        frames: Spectra and their ramps along rows and columns.
        frequencies: Along rows and half columns.
        weights: Index of the table's bins, and the table.
        sought: Reference and constant.
        found: Filled.
    """
    spectra, row_ramp, column_ramp = frames
    column, reference, constant = _parts(column_ramp), _parts(sought[0]), _parts(sought[1])
    _score(
        _pairs(spectra), _pairs(row_ramp), column[0], column[1], frequencies[0], frequencies[1], weights[0], weights[1],
        reference[0], reference[1], constant[0], constant[1], found,
    )  # fmt: skip


def _pairs(values: np.ndarray) -> np.ndarray:
    return values.view(np.float32).reshape(*values.shape, 2)


def _parts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(np.real(values)), np.ascontiguousarray(np.imag(values))


@njit(nogil=True, cache=True, fastmath=_FAST)
def _add(total, spectra, row_ramp, column_real, column_imaginary, index, weights):
    frames, rows, half = spectra.shape[:3]
    for k in range(frames):
        table, cr, ci = weights[k], column_real[k], column_imaginary[k]
        for i in range(rows):
            line, target, place = spectra[k, i], total[i], index[i]
            yr, yi = row_ramp[k, i, 0], row_ramp[k, i, 1]
            for j in range(half):
                weight = table[place[j]]
                ur, ui = weight * (yr * cr[j] - yi * ci[j]), weight * (yr * ci[j] + yi * cr[j])
                target[j, 0] += ur * line[j, 0] - ui * line[j, 1]
                target[j, 1] += ur * line[j, 1] + ui * line[j, 0]


@njit(nogil=True, cache=True, fastmath=_FAST)
def _score_line(line, yr, yi, cr, ci, x, place, table, rr, ri, sr, si):
    """Sums over one row: Im z, x Im z, Re z, x Re z, x² Re z."""
    zero = np.float32(0)
    slope, slope_x, bend, bend_x, bend_xx = zero, zero, zero, zero, zero
    for j in range(len(x)):
        ur, ui = yr * cr[j] - yi * ci[j], yr * ci[j] + yi * cr[j]
        pr = line[j, 0] * rr[j] - line[j, 1] * ri[j] + sr[j]
        pi = line[j, 0] * ri[j] + line[j, 1] * rr[j] + si[j]
        weight = table[place[j]]
        zr, zi = weight * (ur * pr - ui * pi), weight * (ur * pi + ui * pr)
        slope += zi
        slope_x += zi * x[j]
        bend += zr
        bend_x += zr * x[j]
        bend_xx += zr * x[j] * x[j]
    return slope, slope_x, bend, bend_x, bend_xx


@njit(nogil=True, cache=True, fastmath=_FAST)
def _score(spectra, row_ramp, column_real, column_imaginary, y, x, index, weights, rr, ri, sr, si, found):
    frames, rows = spectra.shape[:2]
    for k in range(frames):
        found[k] = 0
        for i in range(rows):
            slope, slope_x, bend, bend_x, bend_xx = _score_line(
                spectra[k, i], row_ramp[k, i, 0], row_ramp[k, i, 1], column_real[k], column_imaginary[k], x,
                index[i], weights[k], rr[i], ri[i], sr[i], si[i],
            )  # fmt: skip
            found[k, 0] -= slope * np.float64(y[i])
            found[k, 1] -= slope_x
            found[k, 2] += bend * np.float64(y[i]) * y[i]
            found[k, 3] += bend_x * np.float64(y[i])
            found[k, 4] += bend_xx
