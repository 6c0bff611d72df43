"""Halving of images: the compiled rows agree with a convolution, and frequencies fold as stated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from thon.kernels.image_halving import halve_image, halve_image_reference


@pytest.mark.parametrize("shape", [(4, 4), (30, 41), (17, 24), (64, 50)])
@pytest.mark.parametrize("bound", [math.inf, 0.8])
def test_compiled_halving_agrees_with_the_reference(shape: tuple[int, int], bound: float):
    image = 3 + torch.randn(shape, generator=torch.Generator().manual_seed(2))
    half = halve_image(image, 3.1, bound)
    assert tuple(half.shape) == (shape[0] // 2, shape[1] // 2)
    torch.testing.assert_close(half, halve_image_reference(image, 3.1, bound), atol=1e-6, rtol=1e-6)
    assert float(half.std()) > 0.1


@pytest.mark.parametrize("frequency", [0.1, 0.4])
def test_a_wave_keeps_its_place_and_what_is_stated_of_its_amplitude(frequency: float):
    """A wave of 0.4 cycles per pixel folds to 0.1, where it is faint."""
    x = np.arange(200)
    image = torch.from_numpy(np.cos(2 * np.pi * frequency * (x - 0.5)).astype(np.float32)).expand(200, 200)
    half = halve_image(image.contiguous()).numpy()[:, 2:-2]
    wave = np.cos(2 * np.pi * 0.2 * np.arange(100))[2:-2] * math.cos(math.pi * frequency) ** 3
    np.testing.assert_allclose(half, np.broadcast_to(wave, half.shape), atol=2e-3)


def test_operator_is_registered_and_refuses_what_it_cannot_do():
    torch.library.opcheck(torch.ops.thon.halve_image.default, (torch.randn(12, 15), 0.5, 2.0))
    with pytest.raises(ValueError, match="float32"):
        halve_image(torch.zeros(8, 8, dtype=torch.float64))
    with pytest.raises(ValueError, match="4 × 4"):
        halve_image(torch.zeros(3, 8))
