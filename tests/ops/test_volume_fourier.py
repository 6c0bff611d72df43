"""Filters, resampling and phases of volumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.algorithms.map_phantom import blobs, noise
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.randomise import randomise_phases
from thon.ops.volume_fourier import (
    b_factor_transfer,
    flatten_spectrum,
    fourier_filter,
    fourier_resize,
    fourier_shift_volume,
    low_pass,
    low_pass_transfer,
    radial_transfer,
)


def wave(shape: tuple[int, int, int], cycles: tuple[int, int, int]) -> torch.Tensor:
    """A cosine with so many cycles along each axis, its crest on the centre voxel."""
    z, y, x = np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij")
    phase = 2 * np.pi * (cycles[0] * z + cycles[1] * y + cycles[2] * x)
    return torch.from_numpy(np.cos(phase).astype(np.float32))


@pytest.mark.parametrize(("old", "new"), [((12, 15, 14), (18, 20, 17)), ((18, 20, 17), (12, 15, 14))])
def test_resampling_keeps_values_and_the_centre(old, new):
    resized = fourier_resize(wave(old, (2, -3, 1)), new)
    np.testing.assert_allclose(resized, wave(new, (2, -3, 1)), atol=1e-5)


def test_what_the_smaller_grid_cannot_hold_is_left_out():
    assert float(fourier_resize(wave((20, 20, 20), (0, 7, 0)), (12, 12, 12)).abs().max()) < 1e-5


def test_a_low_pass_is_a_half_at_its_resolution_and_a_raised_cosine_wide():
    shape, voxel = (30, 24, 30), 2.0
    transfer = low_pass_transfer(shape, voxel, 60 / 8, edge=4)
    along_x = transfer[0, 0]
    np.testing.assert_allclose(along_x[[0, 5, 6]], 1, atol=1e-6)
    assert float(along_x[8]) == pytest.approx(0.5, abs=1e-5)
    np.testing.assert_allclose(along_x[[10, 12, 15]], 0, atol=1e-6)
    assert float(transfer[0, 12, 0]) == 0  # along y the box is shorter and the frequency of sample 12 higher


def test_filters_act_on_waves_as_said():
    shape, voxel = (20, 20, 20), 3.0
    fine = wave(shape, (0, 6, 0))
    squared = (6 / 60) ** 2
    sharper = fourier_filter(fine, b_factor_transfer(shape, voxel, -150.0))
    np.testing.assert_allclose(sharper, fine * np.exp(150 * squared / 4), rtol=1e-4, atol=1e-5)
    assert float(low_pass(fine, voxel, 15.0).abs().max()) < 1e-5
    values = torch.arange(11.0)
    np.testing.assert_allclose(fourier_filter(fine, radial_transfer(shape, values)), 6 * fine, atol=1e-4)


def test_a_shift_moves_towards_larger_indices():
    moved = fourier_shift_volume(blobs(), (2, -3, 1))
    np.testing.assert_allclose(moved, blobs().roll((2, -3, 1), (0, 1, 2)), atol=1e-4)


def test_a_flattened_map_has_equal_power_in_all_shells_up_to_its_resolution():
    flat = flatten_spectrum(blobs(), 4.0, 16.0)
    index = torch.from_numpy(
        np.rint(
            40
            * np.sqrt(
                sum(
                    f**2
                    for f in np.meshgrid(np.fft.fftfreq(40), np.fft.fftfreq(40), np.fft.rfftfreq(40), indexing="ij")
                )
            )
        ).astype(int)
    )
    power = torch.fft.rfftn(flat).abs().square()
    assert [float(power[index == k].mean()) for k in (2, 5, 9)] == pytest.approx([1, 1, 1], rel=1e-3)
    assert float(power[index > 12].max()) < 1e-6


def test_random_phases_keep_amplitudes_and_what_is_coarser():
    volume = noise((24, 20, 26), 1)
    random = randomise_phases(volume, 6, seed=3)
    before, after = torch.fft.rfftn(volume), torch.fft.rfftn(random)
    np.testing.assert_allclose(after.abs(), before.abs(), rtol=1e-3, atol=1e-2)
    curve = fourier_shell_correlation(volume, random).correlation
    np.testing.assert_allclose(curve[:6], 1, atol=1e-5)
    assert float(curve[8:].abs().max()) < 0.15
    assert torch.equal(random, randomise_phases(volume, 6, seed=3))
    assert not torch.equal(random, randomise_phases(volume, 6, seed=4))
