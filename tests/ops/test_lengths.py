"""Lengths for Fourier transforms."""

from __future__ import annotations

from thon.ops.lengths import smooth_even_length


def test_the_smallest_even_one_with_small_factors() -> None:
    assert [smooth_even_length(n) for n in (0, 1, 2, 2.1, 21, 22, 65, 130.5, 152.5, 2187)] == [
        *(2, 2, 2, 4, 24, 24, 70, 140, 160, 2240)
    ]
