"""Sums over spectra along curved surfaces for CPUs, in Numba: one thread, called from several."""

# Numba infers the types of what it compiles.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np
from numba import njit

from thon.kernels.pose_products_cpu import QUANTUM


@njit(nogil=True, cache=True)
def insert_surfaces(volumes, which, rotations, sums, sum_weights, places):
    """Add surfaces to half spectra of whole numbers [volume, z, y, x ≥ 0, (re, im, weight)], trilinear."""
    for s in range(len(which)):
        _insert(volumes[which[s]], rotations[s], places, sums[s, 0], sums[s, 1], sum_weights[s])


@njit(nogil=True, cache=True)
def _insert(volume, rotation, places, re, im, weight):
    middle_z, middle_y = np.float32(volume.shape[0] // 2), np.float32(volume.shape[1] // 2)
    last_z, last_y, last_x = volume.shape[0] - 1, volume.shape[1] - 1, volume.shape[2] - 1
    one, quantum = np.float32(1), np.float32(QUANTUM)
    for k in range(len(re)):
        u, v, w = places[0, k], places[1, k], places[2, k]
        z = rotation[0, 0] * u + rotation[0, 1] * v + rotation[0, 2] * w
        y = rotation[1, 0] * u + rotation[1, 1] * v + rotation[1, 2] * w
        x = rotation[2, 0] * u + rotation[2, 1] * v + rotation[2, 2] * w
        sign = -one if x < 0 else one
        z, y, x = sign * z + middle_z, sign * y + middle_y, sign * x
        # Places are not negative within the volume, so cutting off is rounding down.
        i, j, m = np.int64(z), np.int64(y), np.int64(x)
        if z < 0 or y < 0 or i >= last_z or j >= last_y or m >= last_x:
            continue
        fz, fy, fx = z - np.float32(i), y - np.float32(j), x - np.float32(m)
        real, imaginary, share = quantum * re[k], quantum * sign * im[k], quantum * weight[k]
        for corner in range(8):
            a, b, c = corner // 4, corner // 2 % 2, corner % 2
            part = (fz if a else one - fz) * (fy if b else one - fy) * (fx if c else one - fx)
            volume[i + a, j + b, m + c, 0] += np.int64(part * real)
            volume[i + a, j + b, m + c, 1] += np.int64(part * imaginary)
            volume[i + a, j + b, m + c, 2] += np.int64(part * share)
