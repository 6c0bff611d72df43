"""Power of the noise in particle images."""

from __future__ import annotations

import numpy as np

from thon.algorithms.particle_noise import noise_power


def test_white_noise_has_the_same_power_in_every_shell() -> None:
    """Variance over twice the number of pixels, times the share of the image that the mask lets through."""
    random = np.random.default_rng(0)
    box = 48
    images = random.normal(0, 3, (300, box, box)).astype(np.float32)
    found = noise_power(images, diameter=1000.0, pixel_size=2.0)
    assert len(found) == 25
    np.testing.assert_allclose(found[2:], 9 / box**2 / 2, rtol=0.05)
    masked = noise_power(images, diameter=48.0, pixel_size=2.0)
    # The mask's edge of 5 px begins at its radius of 12 px; the square of a raised cosine is 3/8 on the average.
    radius = np.linspace(12, 17, 1001)
    edge = 2 * np.pi * np.trapezoid(radius * (0.5 + 0.5 * np.cos(np.pi * (radius - 12) / 5)) ** 2, radius)
    share = (np.pi * 12**2 + edge) / box**2
    np.testing.assert_allclose(masked[2:], share * 9 / box**2 / 2, rtol=0.1)


def test_a_wave_is_found_in_its_shell() -> None:
    box = 32
    wave = np.cos(2 * np.pi * 5 * np.arange(box) / box) * np.ones((box, 1))
    found = noise_power(wave[None].astype(np.float32), diameter=1e4, pixel_size=1.0)
    assert found.argmax() == 5
    assert found[5] > 1e6 * found[9]
