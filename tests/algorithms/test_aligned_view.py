"""The series as people look at it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.algorithms.tilt_phantom import draw_blobs
from thon.algorithms.aligned_view import show_aligned
from thon.data.geometry import TiltGeometry


@pytest.mark.parametrize("size", [200, 70])
def test_a_bead_stays_on_a_row_with_the_axis_upright(size: int) -> None:
    """At 85° a bead wanders through the raw images; in the aligned ones it keeps its y and is at x cos θ + z sin θ."""
    shape, pixel = (141, 160), 10.0
    tilt = np.array([-40.0, -15, 0, 30])
    geometry = TiltGeometry(tilt, np.random.default_rng(0).normal(0, 60, (4, 2)), 85.0)  # pyright: ignore[reportArgumentType]
    bead = np.array([[40.0, -150, 260]])
    centres = geometry.project(bead)[:, 0] / pixel + [n // 2 for n in shape]
    images = 5 + np.stack([draw_blobs(shape, c[None], np.array([3.0]), np.ones(1)) for c in centres])
    aligned, raw, small = show_aligned(images, geometry, pixel, size)
    assert aligned.shape == raw.shape
    assert small == pixel * round(160 / size)
    assert max(raw.shape[1:]) == 160 // round(160 / size)
    theta = np.deg2rad(tilt)
    expected = np.stack([np.full(4, -150.0), 260 * np.cos(theta) + 40 * np.sin(theta)], -1) / small
    for image, place in zip(aligned, expected, strict=True):
        at = np.unravel_index(image.argmax(), image.shape)
        np.testing.assert_allclose(np.array(at) - [n // 2 for n in image.shape], place, atol=0.75)
    assert raw.min() == pytest.approx(5, abs=0.2)
    assert raw.max() == pytest.approx(6, abs=0.2)


def test_images_that_are_not_numbers_everywhere_are_shown() -> None:
    images = np.ones((2, 80, 90), np.float32)
    images[1, 3, 4] = np.nan
    aligned, raw, _ = show_aligned(images, TiltGeometry.nominal(np.array([0.0, 3])), 1.0)
    assert np.isfinite(aligned).all()
    assert np.isfinite(raw).all()
