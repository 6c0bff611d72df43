"""Lengths that Fourier transforms are quick at."""

from __future__ import annotations

import math


def smooth_even_length(least: float) -> int:
    """Smallest even number, not below `least`, without prime factors above 7."""
    number = 2 * max(1, math.ceil(least / 2))
    while not _is_smooth(number):
        number += 2
    return number


def _is_smooth(number: int) -> bool:
    for factor in (2, 3, 5, 7):
        while number % factor == 0:
            number //= factor
    return number == 1
