"""Directions on a sphere in pixels of equal area, nested: pixel p of one order splits into 4p … 4p + 3 of the next.

Source: Górski et al. 2005, The Astrophysical Journal 622, 759.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

_FACE_RING = np.repeat([2, 3, 4], 4)
_FACE_PHI = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])


def pixel_count(order: int) -> int:
    """Number of pixels of an order."""
    return 12 * 4**order


def pixel_directions(order: int, pixels: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n 2"]:
    """Polar angle θ from +z and azimuth φ from +x of pixel centres, radians.

    Raises:
        ValueError: There is no such pixel.
    """
    side = 2**order
    if len(pixels) and not 0 <= int(pixels.min()) <= int(pixels.max()) < pixel_count(order):
        raise ValueError(f"order {order} has {pixel_count(order)} pixels, got {pixels.min()} to {pixels.max()}")
    face, within = np.divmod(pixels, side * side)
    x, y = _even_bits(within), _even_bits(within >> 1)
    ring = _FACE_RING[face] * side - x - y - 1
    north, south = ring < side, ring > 3 * side
    quarter = np.where(north, ring, np.where(south, 4 * side - ring, side))
    cap = quarter**2 / (3.0 * side * side)
    height = np.where(north, 1 - cap, np.where(south, cap - 1, (2 * side - ring) * 2 / (3.0 * side)))
    shift = np.where(north | south, 0, (ring - side) & 1)
    place = (_FACE_PHI[face] * quarter + x - y + 1 + shift) // 2
    place = (place - 1) % (4 * quarter) + 1
    azimuth = (place - (shift + 1) / 2) * (np.pi / 2) / quarter
    return np.stack([np.arccos(np.clip(height, -1, 1)), azimuth], -1)


def _even_bits(value: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Every other bit of a number, moved together."""
    result = np.zeros_like(value)
    for bit in range(30):
        result |= ((value >> (2 * bit)) & 1) << bit
    return result
