"""Fourier operations against signals with a known answer."""

from __future__ import annotations

import math

import pytest
import torch

from thon.ops.fourier import band_pass, fourier_crop, fourier_shift, radius_grid, soft_edge


def blob(shape: tuple[int, int], centre: tuple[float, float], sigma: float) -> torch.Tensor:
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    return torch.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize("shape", [(48, 60), (47, 61), (48, 61)])
def test_shift_moves_a_blob_to_where_it_was_sent(shape: tuple[int, int]):
    moved = fourier_shift(blob(shape, (20, 25), 3.0), torch.tensor([2.25, -4.5], dtype=torch.float64))
    torch.testing.assert_close(moved, blob(shape, (22.25, 20.5), 3.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("old", "new"), [((96, 120), (48, 60)), ((96, 120), (47, 61)), ((95, 121), (60, 50)), ((40, 50), (81, 100))]
)
def test_crop_keeps_values_and_the_centre_pixel(old: tuple[int, int], new: tuple[int, int]):
    offset, sigma = (5.0, -7.0), min(old) / 16
    image = blob(old, (old[0] // 2 + offset[0], old[1] // 2 + offset[1]), sigma)
    scale = [n / o for n, o in zip(new, old, strict=True)]
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in new), indexing="ij")
    dy, dx = (y - new[0] // 2) / scale[0] - offset[0], (x - new[1] // 2) / scale[1] - offset[1]
    expected = torch.exp(-(dy**2 + dx**2) / (2 * sigma**2))
    torch.testing.assert_close(fourier_crop(image, new), expected, atol=2e-3, rtol=0)


def test_crop_is_batched_and_leaves_its_input_alone():
    images = torch.randn(2, 3, 20, 31)
    before = images.clone()
    cropped = fourier_crop(images, (11, 16))
    torch.testing.assert_close(cropped[1, 2], fourier_crop(images[1, 2], (11, 16)))
    assert torch.equal(images, before)
    torch.testing.assert_close(cropped.mean((-2, -1)), images.mean((-2, -1)), atol=1e-6, rtol=1e-5)


def test_band_pass_is_one_inside_and_half_power_is_outside():
    radius = radius_grid((64, 65), dtype=torch.float64)
    band = band_pass(radius, 0.05, 0.2)
    assert band[0, 0] == 0
    inside = (radius > 0.05) & (radius < 0.2)
    torch.testing.assert_close(band[inside], torch.ones_like(band[inside]))
    assert band[radius > 0.45].max() < math.exp(-0.5 * (0.25 / 0.06) ** 2) + 1e-9


def test_soft_edge_falls_from_one_to_zero():
    window = soft_edge((40, 61), 0.2)
    assert window[20, 30] == 1
    assert window[0, 30] < 0.02
    assert torch.equal(window, window.flip(0).flip(1))
