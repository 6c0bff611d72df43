"""Directions of equal area, nested."""

from __future__ import annotations

import numpy as np
import pytest

from thon.ops.healpix import pixel_count, pixel_directions


def vectors(order: int) -> np.ndarray:
    theta, phi = pixel_directions(order, np.arange(pixel_count(order))).T
    return np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_directions_are_spread_evenly(order: int):
    v = vectors(order)
    assert len(v) == 12 * 4**order
    np.testing.assert_allclose(v.mean(0), 0, atol=1e-12)
    if order > 0:
        np.testing.assert_allclose(v.T @ v / len(v), np.eye(3) / 3, atol=0.02)
    nearest = np.rad2deg(np.arccos((v @ v.T - 2 * np.eye(len(v))).max(1)))
    spacing = np.sqrt(41253 / len(v))
    assert 0.8 * spacing < nearest.min() <= nearest.max() < 1.1 * spacing


def test_the_twelve_first_directions():
    # Four about each pole at z = 2/3, and four on the equator.
    heights = np.sort(vectors(0)[:, 2])
    np.testing.assert_allclose(heights, np.repeat([-2 / 3, 0, 2 / 3], 4), atol=1e-12)


def test_every_pixel_lies_nearest_to_its_parent():
    parents, children = vectors(2), vectors(3)
    nearest = (children @ parents.T).argmax(1)
    assert (nearest == np.arange(len(children)) // 4).mean() > 0.9
    angle = np.rad2deg(np.arccos((children * np.repeat(parents, 4, 0)).sum(1)))
    assert angle.max() < 8


def test_pixels_beyond_the_last_are_refused():
    with pytest.raises(ValueError, match="48 pixels"):
        pixel_directions(1, np.array([48]))
