"""Sums of half spectra over point groups for CPUs, in Numba."""

# Numba infers the types of what it compiles.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import math

import numpy as np
from numba import njit

NEAR = 1e-4
"""Places so near to a sample take it alone: rotations of a quarter turn are exact."""


@njit(nogil=True, cache=True)
def symmetrise(spectrum, rotations, result):
    """Add the spectrum at each rotation's places."""
    middle_z, middle_y = spectrum.shape[0] // 2, spectrum.shape[1] // 2
    reach = min(middle_z, middle_y, spectrum.shape[2] - 1)
    for s in range(len(rotations)):
        r = rotations[s]
        for i in range(spectrum.shape[0]):
            for j in range(spectrum.shape[1]):
                for m in range(spectrum.shape[2]):
                    a, b = i - middle_z, j - middle_y
                    if a * a + b * b + m * m <= reach * reach:
                        z = r[0, 0] * a + r[0, 1] * b + r[0, 2] * m
                        y = r[1, 0] * a + r[1, 1] * b + r[1, 2] * m
                        x = r[2, 0] * a + r[2, 1] * b + r[2, 2] * m
                        _add(spectrum, z, y, x, result[i, j, m])


@njit(nogil=True, cache=True)
def _snap(place):
    near = np.round(place)
    return near if abs(place - near) < NEAR else place


@njit(nogil=True, cache=True)
def _add(spectrum, z, y, x, total):
    sign = -1.0 if x < 0 else 1.0
    z = _snap(sign * z + spectrum.shape[0] // 2)
    y = _snap(sign * y + spectrum.shape[1] // 2)
    x = _snap(sign * x)
    i, j, m = math.floor(z), math.floor(y), math.floor(x)
    for a in range(2):
        wz = z - i if a else 1 - (z - i)
        if wz == 0 or i + a < 0 or i + a >= spectrum.shape[0]:
            continue
        for b in range(2):
            wy = wz * (y - j if b else 1 - (y - j))
            if wy == 0 or j + b < 0 or j + b >= spectrum.shape[1]:
                continue
            for c in range(2):
                w = wy * (x - m if c else 1 - (x - m))
                if w == 0 or m + c >= spectrum.shape[2]:
                    continue
                total[0] += w * spectrum[i + a, j + b, m + c, 0]
                total[1] += w * sign * spectrum[i + a, j + b, m + c, 1]
                total[2] += w * spectrum[i + a, j + b, m + c, 2]
