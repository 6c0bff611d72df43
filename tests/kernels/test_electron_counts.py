"""Random numbers of counted electrons."""

from __future__ import annotations

import numpy as np
import pytest

from thon.kernels.electron_counts import draw_counts

_WORD = 1 << 64


def seed_of(bits: int) -> int:
    """The seed whose first number is made from these bits: SplitMix64 backwards."""
    z = bits ^ bits >> 31 ^ bits >> 62
    z = z * pow(0x94D049BB133111EB, -1, _WORD) % _WORD
    z = z ^ z >> 27 ^ z >> 54
    z = z * pow(0xBF58476D1CE4E5B9, -1, _WORD) % _WORD
    z = z ^ z >> 30 ^ z >> 60
    return (z - 0x9E3779B97F4A7C15) % _WORD


@pytest.mark.parametrize(("bits", "count"), [(0, 0), (_WORD // 2, 1), (_WORD - 1, 17)])
def test_the_rarest_numbers_give_the_counts_of_their_probability(bits: int, count: int) -> None:
    """With a mean of 1, 17 electrons and fewer have all but 1e-16 of the probability; a 1 would have no end."""
    counts = np.zeros((1, 1), np.uint16)
    draw_counts(np.zeros((1, 1)), 1.0, np.ones((1, 1)), np.zeros((1, 1)), np.uint64(seed_of(bits)), counts)
    assert counts[0, 0] == count
