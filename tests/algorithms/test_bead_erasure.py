"""Erasing beads: the disc looks like its surroundings afterwards, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from thon.algorithms.bead_erasure import BeadErasureOptions, erase_beads
from thon.base.errors import InputError

DIAMETER, PIXEL = 80.0, 8.0


def beaded(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two non-square images with a slope, smooth noise and dark discs; the same without; and the discs' places in Å."""
    random = np.random.default_rng(seed)
    shape = (2, 121, 160)
    y, x = np.mgrid[:121, :160]
    noise = ndimage.gaussian_filter(random.normal(0, 1, shape), (0, 1, 1))
    clean = (100 + 0.2 * y - 0.1 * x + 2 * noise / noise.std()).astype(np.float32)
    pixels = np.array([[[30.3, 40.6], [31.0, 44.0]], [[60.0, 80.0], [66.0, 93.0]], [[70.5, 92.0], [3.0, 158.0]]])
    images = clean.copy()
    for point in pixels:
        for k, (row, column) in enumerate(point):
            images[k][np.hypot(y - row, x - column) <= 5] -= 30
    position = (pixels - [60, 80]) * PIXEL
    position = np.concatenate([position, np.full((1, 2, 2), np.nan)])
    return images, clean, position


def test_background_and_noise_match() -> None:
    images, clean, position = beaded()
    erased = erase_beads(images, position, DIAMETER, PIXEL)
    changed = erased != images
    assert erased.dtype == np.float32
    assert 4 * 100 < changed.sum() < 6 * 200
    gained = (erased - clean)[changed]
    assert abs(gained.mean()) < 1.0
    slope = 100 + 0.2 * np.mgrid[:121, :160][0] - 0.1 * np.mgrid[:121, :160][1]
    assert np.std((erased - slope)[changed]) == pytest.approx(2.0, rel=0.3)


def test_noise_has_the_grain_of_the_image() -> None:
    """Neighbouring pixels correlate as they do in the image, not as white noise does."""
    images, clean, position = beaded(1)
    erased = erase_beads(images, position, DIAMETER, PIXEL)
    slope = 100 + 0.2 * np.mgrid[:121, :160][0] - 0.1 * np.mgrid[:121, :160][1]

    def neighbours(values: np.ndarray, where: np.ndarray) -> float:
        both = where[:, :, 1:] & where[:, :, :-1]
        flat = values - slope
        return float(np.corrcoef(flat[:, :, 1:][both], flat[:, :, :-1][both])[0, 1])

    changed = erased != images
    expected = neighbours(clean, np.ones(clean.shape, bool))
    assert expected > 0.6
    assert neighbours(erased, changed) == pytest.approx(expected, abs=0.15)


def test_only_the_discs_change_and_never_the_input() -> None:
    images, _, position = beaded(2)
    before = images.copy()
    erased = erase_beads(images, position, DIAMETER, PIXEL)
    np.testing.assert_array_equal(images, before)
    y, x = np.mgrid[:121, :160]
    for k in range(2):
        near = np.zeros((121, 160), bool)
        for row, column in position[:3, k] / PIXEL + [60, 80]:
            near |= np.hypot(y - row, x - column) <= 5 * 1.4
        np.testing.assert_array_equal(erased[k][~near], images[k][~near])
        assert (erased[k][near] != images[k][near]).mean() > 0.99


def test_seed_decides_the_noise() -> None:
    images, _, position = beaded(3)
    first, again = (erase_beads(images, position, DIAMETER, PIXEL) for _ in range(2))
    other = erase_beads(images, position, DIAMETER, PIXEL, BeadErasureOptions(seed=1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).sum() > 400


def test_bad_input_is_refused() -> None:
    images, _, position = beaded(4)
    with pytest.raises(InputError, match="differ in number"):
        erase_beads(images[:1], position, DIAMETER, PIXEL)
    with pytest.raises(InputError, match="must be positive"):
        erase_beads(images, position, 0.0, PIXEL)
